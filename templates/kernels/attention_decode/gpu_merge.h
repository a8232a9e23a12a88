// SPDX-License-Identifier: Apache-2.0
// The second launch of attention_decode on a GPU, where sequences were split.
#pragma once

#include "attention_decode/gpu_job.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_decode_detail {

constexpr int kMergeThreads = 128;
constexpr int kMergePart = 4;                              // columns of a thread
constexpr int kMergeLanes = shape::D_vo / kMergePart;      // threads that share a split
constexpr int kMergeGroups = kMergeThreads / kMergeLanes;  // splits that are added at a time
constexpr int kMergeSplits = 8;                            // of a thread, that are under way
static_assert(kMergeLanes * kMergePart == shape::D_vo && kMergeGroups >= 1, "D_vo is up to 512");

struct MergeRow {
  i64 n;
  int token;
  int head;
};
KILN_DEVICE MergeRow merge_row(const AttentionDecodeParams& p) {
  const i64 token = block_idx().x / shape::Hq;
  return {token / p.q_tokens, static_cast<int>(token % p.q_tokens),
          static_cast<int>(block_idx().x % shape::Hq)};
}

using MergeColumns = Vec<float, kMergePart>;

KILN_DEVICE MergeColumns load_columns(const Global<const float>& partials, i64 at, bool aligned) {
  if (aligned) return partials.load_vector<kMergePart>(at);
  MergeColumns columns;
#pragma unroll
  for (int i = 0; i < kMergePart; ++i) columns[i] = partials.load(at + i);
  return columns;
}

// The softmax over the splits, by each warp for itself.
KILN_DEVICE RowEnd merge_softmax(const AttentionDecodeParams& p, const Global<const float>& logs,
                                 int splits, const VariantPlace& place, float& top) {
  top = minus_infinity();
  for (int split = lane(); split < splits; split += warp_size) top = max(top, logs.load(split));
  top = group_max(top);
  float total = 0.0f;
  for (int split = lane(); split < splits; split += warp_size) {
    total += fast_exp2(logs.load(split) - finite_maximum(top));
  }
  return end_row(top, group_sum(total),
                 sink_log2(p, place, of_head(p.sinks, place.qo_head_idx, minus_infinity())));
}

}  // namespace attention_decode_detail

// Puts the splits of one row together, always in the same order, so that the result is the same
// each time; splits without tokens are not looked at, so that their number changes nothing. Grid: x
// counts (sequence, query token, query head). Block: 128 threads.
KILN_KERNEL(128, 6) attention_decode_merge(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  KILN_SHARED(float, sums, kMergeGroups* shape::D_vo);

  // The kernel before, which has waited for all that came before it, does not write lengths.
  const MergeRow at = merge_row(p);
  const int length = length_of(p, at.n);
  const int splits = used_splits(p, length);
  dependency_wait();
  launch_dependents();

  const i64 row = partial_row(p, at.n, at.token, at.head, 0);
  const Global<const float> workspace(p.workspace);
  const Global<const float> logs = workspace.from(partial_rows(p) * shape::D_vo + row);
  const Global<const float> partials = workspace.from(row * shape::D_vo);
  const bool aligned = workspace.aligned(0, 4 * kMergePart);
  const int group = thread_rank() / kMergeLanes;
  const int column = thread_rank() % kMergeLanes * kMergePart;

  MergeColumns sum = {};
  float top = minus_infinity();
  RowEnd end = {};
  for (int first = 0; first == 0 || first < splits; first += kMergeGroups * kMergeSplits) {
    MergeColumns columns[kMergeSplits] = {};
#pragma unroll
    for (int i = 0; i < kMergeSplits; ++i) {
      const int split = first + group + i * kMergeGroups;
      if (split < splits && group < kMergeGroups) {
        columns[i] =
            load_columns(partials, static_cast<i64>(split) * shape::D_vo + column, aligned);
      }
    }
    if (first == 0) {
      const VariantPlace place = place_at(p, at.n, at.token, at.head, length, 0);
      end = merge_softmax(p, logs, splits, place, top);
    }
#pragma unroll
    for (int i = 0; i < kMergeSplits; ++i) {
      const int split = first + group + i * kMergeGroups;
      if (split >= splits || group >= kMergeGroups) continue;
      const float weight = fast_exp2(logs.load(split) - finite_maximum(top));
#pragma unroll
      for (int c = 0; c < kMergePart; ++c) sum[c] = fma(weight, columns[i][c], sum[c]);
    }
  }
  if (group < kMergeGroups) sums.store_vector<kMergePart>(group * shape::D_vo + column, sum);
  block_barrier();
  const RowOutput to{true, at.n * p.out.sequence_stride + at.token * p.out.token_stride +
                               at.head * p.out.head_stride};
  for (int i = thread_rank(); i < shape::D_vo; i += kMergeThreads) {
    float all = 0.0f;
#pragma unroll 4
    for (int g = 0; g < kMergeGroups; ++g) all += sums.load(g * shape::D_vo + i);
    store_column(p, to, i, all * end.share);
  }
  if (thread_rank() == 0 && p.lse != nullptr) {
    Global<float>(p.lse).store(
        at.n * p.lse_sequence_stride + at.token * p.lse_token_stride + at.head,
        end.lse_log2 * math_detail::kLn2);
  }
}

}  // namespace kiln
