// SPDX-License-Identifier: Apache-2.0
// attention_decode on plain arithmetic units. A block works on one split of one sequence for the
// query heads that share a key/value head (at most eight of them; several blocks where there are
// more), so that each key and value is fetched once for all of these heads. Per step of 64 tokens:
// groups of lanes compute the scores, 128 bits of a key per lane and load; each warp turns the
// scores of some heads into weights; then each thread adds its columns of the values.
//
// Two barriers a step: scores, weights and row addresses have two buffers, of which the next step
// fills one while slower warps still read the other.
#include "attention_decode/params.h"
#include "attention_decode/split_range.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fast_math.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/math.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/thread.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_decode_detail {

using Io = bf16;
constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kTile = kSplitStep;  // tokens of a step
constexpr int kPart = 8;           // elements of one 128-bit access

constexpr int kGroupHeads = shape::Hq / shape::Hkv;  // query heads that share a key/value head
constexpr int kHeadTiles = (kGroupHeads + 7) / 8;    // blocks that share them
constexpr int kHeads = (kGroupHeads + kHeadTiles - 1) / kHeadTiles;  // of a block
constexpr int kHeadsOfWarp = (kHeads + kWarps - 1) / kWarps;

// Scores: kKeyLanes lanes share a token and sum over kKeySteps parts each.
constexpr int kKeyLanes = shape::D_qk % (16 * kPart) == 0 ? 16 : 8;
constexpr int kKeySteps = shape::D_qk / kPart / kKeyLanes;
// Tokens that a group of lanes has in flight, as far as the registers go.
constexpr int kKeyTokens = kHeads > 4 ? 2 : 4;
constexpr int kPassTokens = kThreads / kKeyLanes * kKeyTokens;
static_assert(kKeySteps * kKeyLanes * kPart == shape::D_qk, "refused by can_build");

// Values: kValueLanes threads share a token, and kValueRows tokens are added at a time.
constexpr int kValueLanes = shape::D_vo / kPart;
constexpr int kValueRows = kThreads / kValueLanes;
static_assert(kValueRows * kValueLanes == kThreads, "refused by can_build");
static_assert(shape::D_vo % kPart == 0 && shape::Hq % shape::Hkv == 0, "refused by can_build");

// What one block works on.
struct Job {
  i64 n;  // sequence
  int kv_head;
  int first_head;  // query head of the block's first row
  int heads;       // rows of the block that are heads: fewer than kHeads in the last tile
  int split;
  TokenRange tokens;
};

struct Memory {
  Shared<Io> queries;      // [kHeads, D_qk]
  Shared<float> weights;   // [2, kTile, kHeads]: scores, then 2^(score - maximum)
  Shared<i64> key_rows;    // [2, kTile]: where the key of each token of the step begins
  Shared<i64> value_rows;  // [2, kTile]
  // [kHeads]: what a new maximum takes the old sums down by; at the end, one over the total
  Shared<float> factors;
  Shared<float> columns;  // [kValueRows, D_vo]: the threads' sums of one head, at the end
};

using Part = Vec<Io, kPart>;

// One key or value cache as a block sees it.
struct Cache16 {
  Global<const Io> data;
  bool aligned;  // every row begins at a multiple of 16 bytes; a view may begin anywhere
};

KILN_DEVICE Cache16 open_cache(const AttentionDecodeParams::Pages& pages) {
  const Global<const Io> data(static_cast<const Io*>(pages.data));
  const bool strides_aligned =
      (pages.page_stride | pages.token_stride | pages.head_stride) % kPart == 0;
  return {data, strides_aligned && data.aligned(0, sizeof(Part))};
}

// Element by element, in a loop: rare, so that small code counts for more than speed.
KILN_DEVICE Part load_part_anywhere(const Cache16& cache, i64 offset) {
  Vec<u64, 2> words = {{0, 0}};
#pragma unroll 1
  for (int i = 0; i < kPart / 2; ++i) {
    words[0] |= u64{cache.data.load(offset + i).bits} << (16 * i);
    words[1] |= u64{cache.data.load(offset + kPart / 2 + i).bits} << (16 * i);
  }
  return bit_cast<Part>(words);
}

KILN_DEVICE Part load_part(const Cache16& cache, i64 offset) {
  if (cache.aligned) return cache.data.load_vector<kPart>(offset);
  return load_part_anywhere(cache, offset);
}

KILN_DEVICE Job find_job(const AttentionDecodeParams& p) {
  const int block = static_cast<int>(block_idx().x);
  const int tile = block % kHeadTiles;
  Job job;
  job.kv_head = block / kHeadTiles % shape::Hkv;
  job.n = block / kHeadTiles / shape::Hkv;
  job.first_head = job.kv_head * kGroupHeads + tile * kHeads;
  job.heads = min(kHeads, kGroupHeads - tile * kHeads);
  job.split = static_cast<int>(block_idx().y);
  const int length = clamp_length(p, Global<const i32>(p.seq_lens).load(job.n));
  job.tokens = split_range(length, p.splits, job.split);
  return job;
}

// Rows beyond the last head repeat it: computed in vain and never stored.
KILN_DEVICE void load_queries(const AttentionDecodeParams& p, const Job& job,
                              const Memory& memory) {
  const Global<const Io> q(static_cast<const Io*>(p.q.data));
  for (int i = thread_rank(); i < kHeads * shape::D_qk; i += kThreads) {
    const int head = job.first_head + min(i / shape::D_qk, job.heads - 1);
    memory.queries.store(
        i, q.load(job.n * p.q.token_stride + head * p.q.head_stride + i % shape::D_qk));
  }
}

// Looks up where the tokens from `first` on are, one thread per token.
KILN_DEVICE void find_rows(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                           int first, int buffer) {
  const int t = thread_rank();
  if (t >= kTile || first + t >= job.tokens.end) return;
  const u32 token = static_cast<u32>(first + t);
  const u32 number = token / static_cast<u32>(p.page_size);
  const i64 slot = token - number * static_cast<u32>(p.page_size);
  const i64 page = Global<const i32>(p.block_table).load(job.n * p.block_table_stride + number);
  const auto row = [&](const AttentionDecodeParams::Pages& pages) {
    return page * pages.page_stride + slot * pages.token_stride + job.kv_head * pages.head_stride;
  };
  memory.key_rows.store(buffer * kTile + t, row(p.k));
  memory.value_rows.store(buffer * kTile + t, row(p.v));
}

// The scores of kKeyTokens tokens from `first` of the step on, by one group of lanes. Tokens from
// `count` on repeat the last one and are not stored: what lies behind the sequence is never read.
KILN_DEVICE void score_tokens(const Cache16& keys, const Memory& memory, int first, int count,
                              int buffer, float scale_log2) {
  const int lane_in_group = thread_rank() % kKeyLanes;
  i64 rows[kKeyTokens];
#pragma unroll
  for (int r = 0; r < kKeyTokens; ++r) {
    rows[r] = memory.key_rows.load(buffer * kTile + min(first + r, count - 1));
  }
  float sums[kHeads][kKeyTokens];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int r = 0; r < kKeyTokens; ++r) sums[h][r] = 0.0f;
  }
#pragma unroll 1
  for (int step = 0; step < kKeySteps; ++step) {
    const int column = (step * kKeyLanes + lane_in_group) * kPart;
    Part key[kKeyTokens];
#pragma unroll
    for (int r = 0; r < kKeyTokens; ++r) key[r] = load_part(keys, rows[r] + column);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const Part query = memory.queries.load_vector<kPart>(h * shape::D_qk + column);
#pragma unroll
      for (int i = 0; i < kPart; ++i) {
        const float q = to_float(query[i]);
#pragma unroll
        for (int r = 0; r < kKeyTokens; ++r) sums[h][r] = fma(q, to_float(key[r][i]), sums[h][r]);
      }
    }
  }
  const int token = first + lane_in_group;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    // A copy, since group_sum_scattered chooses between elements by their address, which would keep
    // all of `sums` in memory on AMD.
    float own[kKeyTokens];
#pragma unroll
    for (int r = 0; r < kKeyTokens; ++r) own[r] = sums[h][r];
    const float sum = group_sum_scattered<kKeyLanes>(own, lane_in_group);
    if (lane_in_group < kKeyTokens && token < count) {
      memory.weights.store((buffer * kTile + token) * kHeads + h, sum * scale_log2);
    }
  }
}

KILN_DEVICE void score_step(const Cache16& keys, const Memory& memory, int count, int buffer,
                            float scale_log2) {
  const int first_of_group = thread_rank() / kKeyLanes * kKeyTokens;
  for (int pass = 0; pass < count; pass += kPassTokens) {
    score_tokens(keys, memory, pass + first_of_group, count, buffer, scale_log2);
  }
}

// The running softmax of the heads that a warp looks after: warp, warp + kWarps, ...
struct Softmax {
  float maximum[kHeadsOfWarp];  // of all scores so far, the same in every lane
  float total[kHeadsOfWarp];    // of this lane's weights
};

KILN_DEVICE void weigh_step(const Memory& memory, Softmax& softmax, int count, int buffer) {
#pragma unroll
  for (int i = 0; i < kHeadsOfWarp; ++i) {
    const int h = warp() + i * kWarps;
    if (h >= kHeads) break;
    const auto at = [&](int t) { return (buffer * kTile + t) * kHeads + h; };
    float top = minus_infinity();
    for (int t = lane(); t < count; t += warp_size) top = max(top, memory.weights.load(at(t)));
    top = max(softmax.maximum[i], group_max(top));
    const float base = finite_maximum(top);
    const float factor = fast_exp2(softmax.maximum[i] - base);
    float total = softmax.total[i] * factor;
    for (int t = lane(); t < count; t += warp_size) {
      const float weight = fast_exp2(memory.weights.load(at(t)) - base);
      memory.weights.store(at(t), weight);
      total += weight;
    }
    softmax.maximum[i] = top;
    softmax.total[i] = total;
    if (lane() == 0) memory.factors.store(h, factor);
  }
}

// The sums of a thread: its columns of the values, over every kValueRows-th token.
struct Sums {
  float heads[kHeads][kPart];
};

KILN_DEVICE void load_weights(const Memory& memory, int t, int buffer, float (&weights)[kHeads]) {
  const int at = (buffer * kTile + t) * kHeads;
  if constexpr (kHeads % 4 == 0) {
#pragma unroll
    for (int h = 0; h < kHeads; h += 4) {
      const Vec<float, 4> four = memory.weights.load_vector<4>(at + h);
#pragma unroll
      for (int i = 0; i < 4; ++i) weights[h + i] = four[i];
    }
  } else {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) weights[h] = memory.weights.load(at + h);
  }
}

KILN_DEVICE void add_values(const Cache16& values, const Memory& memory, Sums& sums, int count,
                            int buffer) {
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const float factor = memory.factors.load(h);
#pragma unroll
    for (int i = 0; i < kPart; ++i) sums.heads[h][i] *= factor;
  }
  const int column = thread_rank() % kValueLanes * kPart;
#pragma unroll 4
  for (int t = thread_rank() / kValueLanes; t < count; t += kValueRows) {
    const Part value = load_part(values, memory.value_rows.load(buffer * kTile + t) + column);
    float weights[kHeads];
    load_weights(memory, t, buffer, weights);
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      const float v = to_float(value[i]);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) sums.heads[h][i] = fma(weights[h], v, sums.heads[h][i]);
    }
  }
}

// Finishes the softmax of each head: its logarithm to where it is wanted, and to the other threads
// what their sums are to be multiplied by.
KILN_DEVICE void finish_softmax(const AttentionDecodeParams& p, const Job& job,
                                const Memory& memory, const Softmax& softmax) {
#pragma unroll
  for (int i = 0; i < kHeadsOfWarp; ++i) {
    const int h = warp() + i * kWarps;
    if (h >= job.heads) break;
    const float total = group_sum(softmax.total[i]);
    if (lane() != 0) continue;
    memory.factors.store(h, total == 0.0f ? 0.0f : divide(1.0f, total));
    const float lse_log2 = total == 0.0f ? minus_infinity() : softmax.maximum[i] + log2(total);
    const int head = job.first_head + h;
    if (p.splits > 1) {
      const i64 row = partial_row(p, job.n, shape::Hq, head, job.split);
      Global<float>(p.workspace).store(partial_rows(p, shape::Hq) * shape::D_vo + row, lse_log2);
    } else if (p.lse != nullptr) {
      Global<float>(p.lse).store(job.n * p.lse_token_stride + head, lse_log2 * math_detail::kLn2);
    }
  }
}

// The output of one head, summed over the rows of `columns`: final, or partial with other splits.
KILN_DEVICE void store_head(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                            int h) {
  const float share = memory.factors.load(h);
  const int head = job.first_head + h;
  const i64 partial = partial_row(p, job.n, shape::Hq, head, job.split) * shape::D_vo;
  const i64 final = job.n * p.out_token_stride + head * p.out_head_stride;
#pragma unroll 1
  for (int column = thread_rank(); column < shape::D_vo; column += kThreads) {
    float sum = 0.0f;
#pragma unroll
    for (int r = 0; r < kValueRows; ++r) sum += memory.columns.load(r * shape::D_vo + column);
    sum *= share;
    if (p.splits == 1) {
      Global<Io>(static_cast<Io*>(p.out)).store(final + column, from_float<Io>(sum));
    } else {
      Global<float>(p.workspace).store(partial + column, sum);
    }
  }
}

KILN_DEVICE void store_heads(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                             const Sums& sums) {
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int i = 0; i < kPart; i += 4) {
      const Vec<float, 4> four = {
          {sums.heads[h][i], sums.heads[h][i + 1], sums.heads[h][i + 2], sums.heads[h][i + 3]}};
      memory.columns.store_vector<4>(thread_rank() * kPart + i, four);
    }
    block_barrier();
    if (h < job.heads) store_head(p, job, memory, h);
    block_barrier();
  }
}

}  // namespace attention_decode_detail

// Grid: x counts (sequence, key/value head, tile of query heads), y the splits. Block: 128 threads.
KILN_KERNEL(128, 3) attention_decode_split(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  KILN_SHARED(Io, queries, kHeads * shape::D_qk);
  KILN_SHARED(float, weights, 2 * kTile * kHeads);
  KILN_SHARED(i64, key_rows, 2 * kTile);
  KILN_SHARED(i64, value_rows, 2 * kTile);
  KILN_SHARED(float, factors, kHeads);
  KILN_SHARED(float, columns, kThreads* kPart);
  const Memory memory{queries, weights, key_rows, value_rows, factors, columns};

  dependency_wait();
  launch_dependents();

  const Job job = find_job(p);
  const Cache16 keys = open_cache(p.k);
  const Cache16 values = open_cache(p.v);
  const float scale_log2 = p.scale * math_detail::kLog2E;
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < kHeadsOfWarp; ++i) {
    softmax.maximum[i] = minus_infinity();
    softmax.total[i] = 0.0f;
  }
  Sums sums;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int i = 0; i < kPart; ++i) sums.heads[h][i] = 0.0f;
  }

  load_queries(p, job, memory);
  find_rows(p, job, memory, job.tokens.begin, 0);
  block_barrier();
  int buffer = 0;
  for (int first = job.tokens.begin; first < job.tokens.end; first += kTile) {
    const int count = min(kTile, job.tokens.end - first);
    score_step(keys, memory, count, buffer, scale_log2);
    block_barrier();
    weigh_step(memory, softmax, count, buffer);
    find_rows(p, job, memory, first + kTile, buffer ^ 1);
    block_barrier();
    add_values(values, memory, sums, count, buffer);
    buffer ^= 1;
  }
  block_barrier();
  finish_softmax(p, job, memory, softmax);
  store_heads(p, job, memory, sums);
}

// Puts the splits of one output row together, in their order, so that the result is the same each
// time. Grid: x counts (sequence, query head). Block: 128 threads.
KILN_KERNEL(128, 8) attention_decode_merge(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  dependency_wait();
  launch_dependents();

  const i64 n = block_idx().x / shape::Hq;
  const int head = static_cast<int>(block_idx().x % shape::Hq);
  const i64 row = partial_row(p, n, shape::Hq, head, 0);
  const Global<const float> partials(p.workspace);
  const Global<const float> logs = partials.from(partial_rows(p, shape::Hq) * shape::D_vo);

  float top = minus_infinity();
  for (int split = 0; split < p.splits; ++split) top = max(top, logs.load(row + split));
  const float base = finite_maximum(top);
  float total = 0.0f;
  for (int split = 0; split < p.splits; ++split) total += fast_exp2(logs.load(row + split) - base);
  const float share = total == 0.0f ? 0.0f : divide(1.0f, total);

  const Global<Io> out(static_cast<Io*>(p.out));
  for (int column = thread_rank(); column < shape::D_vo; column += kThreads) {
    float sum = 0.0f;
    for (int split = 0; split < p.splits; ++split) {
      const float weight = fast_exp2(logs.load(row + split) - base);
      sum = fma(weight, partials.load((row + split) * shape::D_vo + column), sum);
    }
    out.store(n * p.out_token_stride + head * p.out_head_stride + column,
              from_float<Io>(sum * share));
  }
  if (thread_rank() == 0 && p.lse != nullptr) {
    const float lse_log2 = total == 0.0f ? minus_infinity() : base + log2(total);
    Global<float>(p.lse).store(n * p.lse_token_stride + head, lse_log2 * math_detail::kLn2);
  }
}

}  // namespace kiln
