// SPDX-License-Identifier: Apache-2.0
// The second launch of attention_decode on a GPU, where sequences were split.
#pragma once

#include "attention_decode/gpu_job.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"

namespace kiln {

// Puts the splits of one row together, in their order, so that the result is the same each time;
// splits without tokens are not looked at, so that their number changes nothing. Grid: x counts
// (sequence, query token, query head). Block: 128 threads.
KILN_KERNEL(128, 8) attention_decode_merge(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  dependency_wait();
  launch_dependents();

  const int head = static_cast<int>(block_idx().x % shape::Hq);
  const i64 token_number = block_idx().x / shape::Hq;
  const int token = static_cast<int>(token_number % p.q_tokens);
  const i64 n = token_number / p.q_tokens;
  const i64 row = partial_row(p, n, token, head, 0);
  const Global<const float> partials(p.workspace);
  const Global<const float> logs = partials.from(partial_rows(p) * shape::D_vo);
  const int splits = used_splits(p, length_of(p, n));

  float top = minus_infinity();
#pragma unroll 4
  for (int split = 0; split < splits; ++split) top = max(top, logs.load(row + split));
  const float base = finite_maximum(top);
  float total = 0.0f;
#pragma unroll 4
  for (int split = 0; split < splits; ++split) total += fast_exp2(logs.load(row + split) - base);
  const float sink = of_head(p.sinks, head, minus_infinity()) * math_detail::kLog2E;
  const RowEnd end = end_row(top, total, sink);

  const RowOutput to{
      true, n * p.out.sequence_stride + token * p.out.token_stride + head * p.out.head_stride};
  for (int column = thread_rank(); column < shape::D_vo; column += 128) {
    float sum = 0.0f;
#pragma unroll 4
    for (int split = 0; split < splits; ++split) {
      const float weight = fast_exp2(logs.load(row + split) - base);
      sum = fma(weight, partials.load((row + split) * shape::D_vo + column), sum);
    }
    store_column(p, to, column, sum * end.share);
  }
  if (thread_rank() == 0 && p.lse != nullptr) {
    Global<float>(p.lse).store(n * p.lse_sequence_stride + token * p.lse_token_stride + head,
                               end.lse_log2 * math_detail::kLn2);
  }
}

}  // namespace kiln
