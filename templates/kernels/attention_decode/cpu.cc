// SPDX-License-Identifier: Apache-2.0
// attention_decode on the native CPU. A work item is one split of one sequence for query heads that
// share a key/value head. Per step of 64 tokens: scores of four tokens at a time for a few heads,
// weights, then the values, a block of columns at a time. While the scores are computed the step's
// values are asked for, and while the values are added the next step's keys: the rows of one head
// lie far apart, where the caches' own prefetchers do not follow.
#include "kiln/cpu.h"
#include "attention_decode/params.h"
#include "attention_decode/split_range.h"
#include "kiln/shape.h"

namespace kiln {
namespace attention_decode_detail {

using Io = bf16;
constexpr int kTile = kSplitStep;  // tokens of a step
constexpr int kTokens = 4;         // whose scores are computed at once
constexpr int kLineElements = 32;  // of a cache line

constexpr int kGroupHeads = shape::Hq / shape::Hkv;  // query heads that share a key/value head
constexpr int kHeadTiles = (kGroupHeads + 31) / 32;  // work items that share them
constexpr int kHeads = (kGroupHeads + kHeadTiles - 1) / kHeadTiles;  // of an item

// Heads whose sums stay in registers: AVX-512 has 32 of them, the others 16.
constexpr int kHeadBlock = vector_lanes == 16 ? 4 : 2;
constexpr int kColumnVectors = 4;  // as many columns of each
constexpr int kBlockColumns = kColumnVectors * vector_lanes;
constexpr int kColumnBlocks = shape::D_vo / kBlockColumns;
static_assert(shape::D_qk % vector_lanes == 0, "refused by can_build");
static_assert(shape::D_vo % kBlockColumns == 0, "refused by can_build");

struct Job {
  i64 n;  // sequence
  int kv_head;
  int first_head;  // query head of row 0
  int heads;       // rows that are heads: fewer than kHeads in the last tile
  int split;
  TokenRange tokens;
};

// What an item keeps in the worker's scratch memory.
struct Scratch {
  float queries[kHeads][shape::D_qk];  // scaled, for scores in base 2
  float sums[kHeads][shape::D_vo];     // of weight times value, not yet divided
  float weights[kHeads][kTile];        // scores, then 2^(score - maximum)
  float factors[kHeads];               // what a new maximum takes the old sums down by
  float maxima[kHeads];
  float totals[kHeads];
};
static_assert(sizeof(Scratch) <= kKilnCpuScratchBytes, "refused by can_build");

// Where the tokens of a step are; from `count` on, some valid address: the last token's if any.
struct Rows {
  const Io* keys[kTile];
  const Io* values[kTile];
  int count;
};

KILN_DEVICE void find_rows(const AttentionDecodeParams& p, const Job& job, int first, Rows& rows) {
  rows.count = max(0, min(kTile, job.tokens.end - first));
  const int* table = p.block_table + job.n * p.block_table_stride;
  const Io* keys = static_cast<const Io*>(p.k.data) + job.kv_head * p.k.head_stride;
  const Io* values = static_cast<const Io*>(p.v.data) + job.kv_head * p.v.head_stride;
  int number = first / p.page_size;
  int slot = first % p.page_size;
  for (int t = 0; t < rows.count; ++t) {
    const i64 page = table[number];
    rows.keys[t] = keys + page * p.k.page_stride + slot * p.k.token_stride;
    rows.values[t] = values + page * p.v.page_stride + slot * p.v.token_stride;
    if (++slot == p.page_size) {
      slot = 0;
      ++number;
    }
  }
  const Io* last_key = rows.count > 0 ? rows.keys[rows.count - 1] : keys;
  const Io* last_value = rows.count > 0 ? rows.values[rows.count - 1] : values;
  for (int t = rows.count; t < kTile; ++t) {
    rows.keys[t] = last_key;
    rows.values[t] = last_value;
  }
}

KILN_DEVICE void start_item(const AttentionDecodeParams& p, const Job& job, Scratch& scratch) {
  const Floats scale_log2(p.scale * math_detail::kLog2E);
  for (int h = 0; h < job.heads; ++h) {
    const Io* q = static_cast<const Io*>(p.q.data) + job.n * p.q.token_stride +
                  (job.first_head + h) * p.q.head_stride;
    for (int i = 0; i < shape::D_qk; i += vector_lanes) {
      store(scratch.queries[h] + i, load(q + i) * scale_log2);
    }
    for (int i = 0; i < shape::D_vo; i += vector_lanes) store(scratch.sums[h] + i, Floats(0.0f));
    scratch.maxima[h] = minus_infinity();
    scratch.totals[h] = 0.0f;
  }
}

// The scores of `heads` heads from `head` on with kTokens tokens from `t` on.
template <int heads>
KILN_DEVICE void score_block(Scratch& scratch, const Rows& rows, int head, int t) {
  Floats sums[heads][kTokens] = {};
  for (int i = 0; i < shape::D_qk; i += vector_lanes) {
    Floats keys[kTokens];
#pragma clang loop unroll(full)
    for (int r = 0; r < kTokens; ++r) keys[r] = load(rows.keys[t + r] + i);
#pragma clang loop unroll(full)
    for (int h = 0; h < heads; ++h) {
      const Floats query = load(scratch.queries[head + h] + i);
#pragma clang loop unroll(full)
      for (int r = 0; r < kTokens; ++r) sums[h][r] = fma(query, keys[r], sums[h][r]);
    }
  }
#pragma clang loop unroll(full)
  for (int h = 0; h < heads; ++h) {
    const Floats4 scores = horizontal_sums(sums[h][0], sums[h][1], sums[h][2], sums[h][3]);
    __builtin_memcpy(scratch.weights[head + h] + t, &scores, sizeof scores);
  }
}

KILN_DEVICE void score_step(Scratch& scratch, const Rows& rows, int heads) {
  for (int t = 0; t < rows.count; t += kTokens) {
    if constexpr (!shape::v_in_k) {  // else the values come with the keys
      for (int r = 0; r < kTokens; ++r) {
        for (int i = 0; i < shape::D_vo; i += kLineElements) prefetch(rows.values[t + r] + i);
      }
    }
    int head = 0;
    for (; head + kHeadBlock <= heads; head += kHeadBlock) {
      score_block<kHeadBlock>(scratch, rows, head, t);
    }
    for (; head < heads; ++head) score_block<1>(scratch, rows, head, t);
  }
}

KILN_DEVICE void weigh_step(Scratch& scratch, int count, int heads) {
  const int whole = ceil_div(count, vector_lanes) * vector_lanes;
  for (int h = 0; h < heads; ++h) {
    float* weights = scratch.weights[h];
    for (int t = count; t < whole; ++t) weights[t] = minus_infinity();
    Floats tops = load(weights);
    for (int t = vector_lanes; t < whole; t += vector_lanes) {
      const Floats scores = load(weights + t);
      tops = select(tops < scores, scores, tops);
    }
    float top = scratch.maxima[h];
    for (int i = 0; i < vector_lanes; ++i) top = max(top, tops[i]);
    const float base = finite_maximum(top);
    scratch.factors[h] = exp2(scratch.maxima[h] - base);
    scratch.maxima[h] = top;
    Floats total(0.0f);
    for (int t = 0; t < whole; t += vector_lanes) {
      const Floats weight = exp2(load(weights + t) - Floats(base));
      store(weights + t, weight);
      total += weight;
    }
    scratch.totals[h] = fma(scratch.totals[h], scratch.factors[h], horizontal_sum(total));
  }
}

// Adds the step's values to the sums of `heads` heads from `head` on, for one block of columns. The
// first heads of a step also ask for the next keys, an equal part of them with each block: as many
// requests at once as memory can have under way, never a burst.
template <int heads>
KILN_DEVICE void add_block(Scratch& scratch, const Rows& rows, const Rows& next, int head,
                           int block) {
  constexpr int kAhead = ceil_div(shape::D_qk, kLineElements * kColumnBlocks);  // cache lines
  const int column = block * kBlockColumns;
  Floats sums[heads][kColumnVectors];
#pragma clang loop unroll(full)
  for (int h = 0; h < heads; ++h) {
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      const float* at = scratch.sums[head + h] + column + c * vector_lanes;
      sums[h][c] = load(at) * Floats(scratch.factors[head + h]);
    }
  }
  for (int t = 0; t < rows.count; ++t) {
    if (head == 0) {
      const Io* ahead = next.keys[t] + block * kAhead * kLineElements;
      for (int i = 0; i < kAhead; ++i) prefetch(ahead + i * kLineElements);
    }
    Floats values[kColumnVectors];
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      values[c] = load(rows.values[t] + column + c * vector_lanes);
    }
#pragma clang loop unroll(full)
    for (int h = 0; h < heads; ++h) {
      const Floats weight(scratch.weights[head + h][t]);
#pragma clang loop unroll(full)
      for (int c = 0; c < kColumnVectors; ++c) sums[h][c] = fma(weight, values[c], sums[h][c]);
    }
  }
#pragma clang loop unroll(full)
  for (int h = 0; h < heads; ++h) {
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      store(scratch.sums[head + h] + column + c * vector_lanes, sums[h][c]);
    }
  }
}

KILN_DEVICE void add_step(Scratch& scratch, const Rows& rows, const Rows& next, int heads) {
  for (int block = 0; block < kColumnBlocks; ++block) {
    int head = 0;
    for (; head + kHeadBlock <= heads; head += kHeadBlock) {
      add_block<kHeadBlock>(scratch, rows, next, head, block);
    }
    for (; head < heads; ++head) add_block<1>(scratch, rows, next, head, block);
  }
}

// Final, or partial with other splits.
KILN_DEVICE void finish_item(const AttentionDecodeParams& p, const Job& job, Scratch& scratch) {
  for (int h = 0; h < job.heads; ++h) {
    const int head = job.first_head + h;
    const float total = scratch.totals[h];
    const float lse_log2 = total == 0.0f ? minus_infinity() : scratch.maxima[h] + log2(total);
    const Floats share(total == 0.0f ? 0.0f : 1.0f / total);
    const float* sums = scratch.sums[h];
    if (p.splits > 1) {
      const i64 row = partial_row(p, job.n, shape::Hq, head, job.split);
      float* partial = p.workspace + row * shape::D_vo;
      for (int i = 0; i < shape::D_vo; i += vector_lanes)
        store(partial + i, load(sums + i) * share);
      p.workspace[partial_rows(p, shape::Hq) * shape::D_vo + row] = lse_log2;
      continue;
    }
    Io* out = static_cast<Io*>(p.out) + job.n * p.out_token_stride + head * p.out_head_stride;
    for (int i = 0; i < shape::D_vo; i += vector_lanes) store(out + i, load(sums + i) * share);
    if (p.lse != nullptr) p.lse[job.n * p.lse_token_stride + head] = lse_log2 * math_detail::kLn2;
  }
}

KILN_DEVICE void run_item(const AttentionDecodeParams& p, const Job& job, Scratch& scratch) {
  start_item(p, job, scratch);
  Rows rows[2];
  int current = 0;
  find_rows(p, job, job.tokens.begin, rows[0]);
  for (int first = job.tokens.begin; first < job.tokens.end; first += kTile) {
    const int next = current ^ 1;
    find_rows(p, job, first + kTile, rows[next]);
    score_step(scratch, rows[current], job.heads);
    weigh_step(scratch, rows[current].count, job.heads);
    add_step(scratch, rows[current], rows[next], job.heads);
    current = next;
  }
  finish_item(p, job, scratch);
}

// Neighbours among the items read neighbouring heads of the same tokens.
KILN_DEVICE Job find_job(const AttentionDecodeParams& p, i64 item) {
  const int tile = static_cast<int>(item % kHeadTiles);
  const i64 head_item = item / kHeadTiles;
  const i64 split_item = head_item / shape::Hkv;
  Job job;
  job.kv_head = static_cast<int>(head_item % shape::Hkv);
  job.split = static_cast<int>(split_item % p.splits);
  job.n = split_item / p.splits;
  job.first_head = job.kv_head * kGroupHeads + tile * kHeads;
  job.heads = min(kHeads, kGroupHeads - tile * kHeads);
  job.tokens = split_range(clamp_length(p, p.seq_lens[job.n]), p.splits, job.split);
  return job;
}

// Puts the splits of one output row together, in their order.
KILN_DEVICE void merge_row(const AttentionDecodeParams& p, i64 n, int head) {
  const i64 row = partial_row(p, n, shape::Hq, head, 0);
  const float* partials = p.workspace + row * shape::D_vo;
  const float* logs = p.workspace + partial_rows(p, shape::Hq) * shape::D_vo + row;
  float top = minus_infinity();
  for (int split = 0; split < p.splits; ++split) top = max(top, logs[split]);
  const float base = finite_maximum(top);
  Floats sums[shape::D_vo / vector_lanes] = {};
  float total = 0.0f;
  for (int split = 0; split < p.splits; ++split) {
    const float weight = exp2(logs[split] - base);
    total += weight;
    for (int c = 0; c < shape::D_vo / vector_lanes; ++c) {
      const float* at = partials + static_cast<i64>(split) * shape::D_vo + c * vector_lanes;
      sums[c] = fma(Floats(weight), load(at), sums[c]);
    }
  }
  const Floats share(total == 0.0f ? 0.0f : 1.0f / total);
  Io* out = static_cast<Io*>(p.out) + n * p.out_token_stride + head * p.out_head_stride;
  for (int c = 0; c < shape::D_vo / vector_lanes; ++c)
    store(out + c * vector_lanes, sums[c] * share);
  if (p.lse == nullptr) return;
  const float lse_log2 = total == 0.0f ? minus_infinity() : base + log2(total);
  p.lse[n * p.lse_token_stride + head] = lse_log2 * math_detail::kLn2;
}

}  // namespace attention_decode_detail

KILN_CPU_KERNEL(attention_decode_cpu_split, host, params, first, last) {
  using namespace attention_decode_detail;
  const AttentionDecodeParams& p = *static_cast<const AttentionDecodeParams*>(params);
  Scratch& scratch = *static_cast<Scratch*>(host->scratch);
  for (i64 item = first; item < last; ++item) run_item(p, find_job(p, item), scratch);
}

KILN_CPU_KERNEL(attention_decode_cpu_merge, host, params, first, last) {
  using namespace attention_decode_detail;
  const AttentionDecodeParams& p = *static_cast<const AttentionDecodeParams*>(params);
  for (i64 row = first; row < last; ++row) {
    merge_row(p, row / shape::Hq, static_cast<int>(row % shape::Hq));
  }
}

}  // namespace kiln
