// SPDX-License-Identifier: Apache-2.0
// The consumers of the wgmma kernel: warpgroups that multiply, each with the softmax of 64 rows.
#pragma once

#include "attention_prefill/wgmma_block.h"
#include "kiln/barrier.h"
#include "kiln/fast_math.h"
#include "kiln/math.h"
#include "kiln/thread.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_prefill_detail {

using Scores = MmaC[kKeyTiles];
using Output = MmaC[kParts][kPartTiles];
using Weights = MmaA[kKeys / 16];

// The lane's two rows of the 16 of its warp.
struct Softmax {
  float maximum[2];  // of the scores, without scale
  float sum[2];      // of the weights of this lane's keys
};

// Which of the consumers' 64 rows: the warpgroup's first one and this lane's.
KILN_DEVICE int consumer() {
  return warp() / 4 - 1;
}
KILN_DEVICE int row_of(int first_row, int half) {
  return first_row + (warp() - 4) * 16 + lane() / 4 + half * 8;
}

// The warpgroups take turns at starting products.
KILN_DEVICE void wait_for_turn() {
  named_barrier(1 + consumer(), kConsumers * kWarpgroup);
}
KILN_DEVICE void give_turn() {
  dialect::named_barrier_arrive(1 + (consumer() ^ 1), kConsumers * kWarpgroup);
}

KILN_DEVICE void release(const Mbarrier& empty) {
  if (lane() == 0) empty.arrive();
}

KILN_DEVICE void start_scores(const Memory& memory, u32 stage, Scores& scores) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    warpgroup_mma<Io>(scores, memory.q().along_rows(consumer() * 64, step),
                      memory.k(stage).along_rows(0, step), step > 0);
  }
  warpgroup_commit();
}
KILN_DEVICE void start_output(const Memory& memory, u32 stage, const Weights& weights, Output& out,
                              bool add) {
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      warpgroup_mma<Io>(out[part], weights[step],
                        memory.v(stage).along_columns(part * kPartTiles / 8, step),
                        add || step > 0);
    }
  }
  warpgroup_commit();
}
template <int pending>
KILN_DEVICE void wait_for_output(Output& out) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) warpgroup_wait<pending>(out[part]);
}

// What a row does not see becomes -infinity.
KILN_DEVICE void mask_scores(const Params& p, const Work& work, int tile, Scores& scores) {
  const int first_key = work.first_key(tile);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const KeyRange range = work.job.visible(p, row_of(work.first_row, half));
    const int first = range.first - first_key;
    const int end = range.end - first_key;
#pragma unroll
    for (int i = 0; i < kKeyTiles; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int key = i * 8 + MmaC::column(j);
        if (key < first || key >= end) scores[i].values[2 * half + j] = minus_infinity();
      }
    }
  }
}

// Scores to weights; rescale[half] is what was accumulated under a smaller maximum worth.
KILN_DEVICE void weigh(float scale_log2, Scores& scores, Softmax& softmax, float (&rescale)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float maximum = softmax.maximum[half];
#pragma unroll
    for (int i = 0; i < kKeyTiles; ++i) {
      const float* const values = scores[i].values + 2 * half;
      maximum = fast_max(maximum, fast_max(values[0], values[1]));
    }
    maximum = group_max<4>(maximum);
    // While a row has seen no key, infinity less infinity would be no number.
    const float reference = maximum == minus_infinity() ? 0.0f : maximum * scale_log2;
    rescale[half] = fast_exp2(softmax.maximum[half] * scale_log2 - reference);
    softmax.maximum[half] = maximum;
    float sum = softmax.sum[half] * rescale[half];
#pragma unroll
    for (int i = 0; i < kKeyTiles; ++i) {
      float* const values = scores[i].values + 2 * half;
      values[0] = fast_exp2(fma(values[0], scale_log2, -reference));
      values[1] = fast_exp2(fma(values[1], scale_log2, -reference));
      sum += values[0] + values[1];
    }
    softmax.sum[half] = sum;
  }
}

KILN_DEVICE void pack_weights(const Scores& scores, Weights& weights) {
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const values = scores[2 * step + i / 2].values + i % 2 * 2;
      weights[step].words[i] = MatrixWord{pack2<Io>(values[0], values[1])};
    }
  }
}

KILN_DEVICE void rescale_output(const float (&rescale)[2], Output& out) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int tile = 0; tile < kPartTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[part][tile].values[i] *= rescale[i / 2];
    }
  }
}

// With the sink of each row as its first key, which has no value: in one lane's sum.
KILN_DEVICE Softmax no_keys_yet(const Params& p, const Work& work) {
  Softmax softmax;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    softmax.maximum[half] = minus_infinity();
    softmax.sum[half] = 0.0f;
    if (p.sinks == nullptr) continue;
    softmax.maximum[half] = divide(Global<const float>(p.sinks).load(work.head), p.scale);
    if (lane() % 4 == 0 && softmax.maximum[half] != minus_infinity()) softmax.sum[half] = 1.0f;
  }
  return softmax;
}

KILN_DEVICE void write_rows(const Params& p, const Work& work, const Softmax& softmax,
                            const Output& out) {
  const Global<Io> to(static_cast<Io*>(const_cast<void*>(p.out.data)));
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = group_sum<4>(softmax.sum[half]);
    const int row = row_of(work.first_row, half);
    if (row >= work.job.queries) continue;
    // A row that sees no key has accumulated nothing: zero.
    const float factor = sum == 0.0f ? 0.0f : divide(1.0f, sum);
    const i64 offset = row_offset(p.out, work.job, row, work.head);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int tile = 0; tile < kPartTiles; ++tile) {
        const float* const values = out[part][tile].values + 2 * half;
        const Vec<Io, 2> pair = {
            {from_float<Io>(values[0] * factor), from_float<Io>(values[1] * factor)}};
        to.store_vector<2>(offset + (part * kPartTiles + tile) * 8 + MmaC::column(0), pair);
      }
    }
    if (p.lse.data != nullptr && lane() % 4 == 0) {
      const Global<float> lse(static_cast<float*>(const_cast<void*>(p.lse.data)));
      lse.store(row_offset(p.lse, work.job, row, work.head),
                softmax.maximum[half] * p.scale + log2(sum) * kLn2);
    }
  }
}

KILN_DEVICE void consume(const Params& p, const Work& work, const Memory& memory) {
  // The keys that all rows of this warpgroup see.
  const int first_row = work.first_row + consumer() * 64;
  const int last_row = min(first_row + 63, work.job.queries - 1);
  const KeyRange whole = {work.job.visible(p, last_row).first,
                          work.job.visible(p, min(first_row, last_row)).end};
  const auto is_whole = [&](int tile) {
    const int first_key = work.first_key(tile);
    return whole.first <= first_key && first_key + kKeys <= whole.end;
  };
  const float scale_log2 = p.scale * kLog2E;
  Softmax softmax = no_keys_yet(p, work);
  float rescale[2];
  Output out;
  if (work.tiles == 0) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int tile = 0; tile < kPartTiles; ++tile) out[part][tile] = MmaC{};
    }
    write_rows(p, work, softmax, out);
    return;
  }
  Weights weights;
  Turn k;
  Turn v;
  memory.q_full().wait(0);
  memory.k_full(0).wait(0);
  fence_for_async_proxy();
  {
    Scores scores;
    warpgroup_arrive();
    start_scores(memory, 0, scores);
    warpgroup_wait<0>(scores);
    release(memory.k_empty(0));
    k.next();
    if (!is_whole(0)) mask_scores(p, work, 0, scores);
    weigh(scale_log2, scores, softmax, rescale);
    pack_weights(scores, weights);
  }
  if (consumer() == 1) give_turn();
  for (int tile = 1; tile < work.tiles; ++tile) {
    Scores scores;
    memory.k_full(k.stage).wait(k.phase);
    fence_for_async_proxy();
    wait_for_turn();
    warpgroup_arrive();
    start_scores(memory, k.stage, scores);
    memory.v_full(v.stage).wait(v.phase);
    fence_for_async_proxy();
    start_output(memory, v.stage, weights, out, tile > 1);
    give_turn();
    warpgroup_wait<1>(scores);
    release(memory.k_empty(k.stage));
    k.next();
    if (!is_whole(tile)) mask_scores(p, work, tile, scores);
    weigh(scale_log2, scores, softmax, rescale);
    wait_for_output<0>(out);
    release(memory.v_empty(v.stage));
    v.next();
    pack_weights(scores, weights);
    rescale_output(rescale, out);
  }
  memory.v_full(v.stage).wait(v.phase);
  fence_for_async_proxy();
  warpgroup_arrive();
  start_output(memory, v.stage, weights, out, work.tiles > 1);
  wait_for_output<0>(out);
  write_rows(p, work, softmax, out);
}

}  // namespace attention_prefill_detail
}  // namespace kiln
