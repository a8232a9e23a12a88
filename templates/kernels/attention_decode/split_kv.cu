// SPDX-License-Identifier: Apache-2.0
// attention_decode on plain arithmetic units, for every type and head size. A block works on one
// split of one sequence for rows that share a key/value head (at most eight of them; several blocks
// where there are more), so that each key and value is fetched once for all of these rows. Per step
// of 64 tokens: groups of lanes compute the products, eight elements of a key per lane and load;
// each warp turns the products of some rows into weights; then each thread adds its columns of the
// values.
//
// Two barriers a step: scores, weights and row addresses have two buffers, of which the next step
// fills one while slower warps still read the other.
#include "attention_decode/gpu_job.h"
#include "attention_decode/gpu_merge.h"
#include "attention_decode/params.h"
#include "attention_decode/split_range.h"
#include "attention_decode/splits.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fast_math.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/thread.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_decode_detail {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kTile = kSplitStep;  // tokens of a step
constexpr int kPart = 8;           // elements of one access: 128 bits, or 64 of an fp8 cache

// Rows of a block: heads of one query token, in equal parts.
constexpr int kRows = attention_decode_tile_rows(kGroupHeads, 8);
constexpr int kRowsOfWarp = (kRows + kWarps - 1) / kWarps;

// Scores: kKeyLanes lanes share a token and sum over kKeySteps parts each.
constexpr int kKeyParts = shape::D_qk / kPart;
constexpr int kKeyLanes = kKeyParts % 16 == 0 ? 16 : kKeyParts % 8 == 0 ? 8 : 4;
constexpr int kKeySteps = (kKeyParts + kKeyLanes - 1) / kKeyLanes;
// Tokens that a group of lanes has in flight, as far as the registers go.
constexpr int kKeyTokens = kRows > 4 ? 2 : 4;
constexpr int kPassTokens = kThreads / kKeyLanes * kKeyTokens;
static_assert(kKeyParts * kPart == shape::D_qk, "refused by can_build");

// Values: kValueLanes threads share a token, and kValueRows tokens are added at a time; threads
// beyond these have no part in it.
constexpr int kValueLanes = shape::D_vo / kPart;
constexpr int kValueRows = kThreads / kValueLanes;
static_assert(shape::D_vo % kPart == 0 && kValueRows >= 1, "refused by can_build");

struct Memory {
  Shared<Io> queries;      // [kRows, D_qk]
  Shared<float> weights;   // [2, kTile, kRows]: products, then 2^(score - maximum)
  Shared<i64> key_rows;    // [2, kTile]: where the key of each token of the step begins
  Shared<i64> value_rows;  // [2, kTile]
  // [kRows]: what a new maximum takes the old sums down by; at the end, one over the total
  Shared<float> factors;
  Shared<float> columns;  // [kValueRows, D_vo]: the threads' sums of one row, at the end
};

using Part = Vec<Kv, kPart>;

// One key or value cache as a block sees it.
struct KvCache {
  Global<const Kv> data;
  bool aligned;  // every row begins at a multiple of a part's bytes; a view may begin anywhere
};

KILN_DEVICE KvCache open_cache(const AttentionDecodeParams::Pages& pages) {
  const Global<const Kv> data(static_cast<const Kv*>(pages.data));
  const bool strides_aligned =
      (pages.page_stride | pages.token_stride | pages.head_stride) % kPart == 0;
  return {data, strides_aligned && data.aligned(0, sizeof(Part))};
}

// Element by element, in a loop: rare, so that small code counts for more than speed.
KILN_DEVICE Part load_part_anywhere(const KvCache& cache, i64 offset) {
  constexpr int kWords = int{sizeof(Part)} / 8;
  constexpr int kOfWord = kPart / kWords;
  constexpr int kBits = 64 / kOfWord;
  Vec<u64, kWords> words = {};
#pragma unroll 1
  for (int i = 0; i < kOfWord; ++i) {
    words[0] |= u64{cache.data.load(offset + i).bits} << (kBits * i);
    if constexpr (kWords == 2) {
      words[1] |= u64{cache.data.load(offset + kOfWord + i).bits} << (kBits * i);
    }
  }
  return bit_cast<Part>(words);
}

KILN_DEVICE Part load_part(const KvCache& cache, i64 offset) {
  if (cache.aligned) return cache.data.load_vector<kPart>(offset);
  return load_part_anywhere(cache, offset);
}

// Rows beyond the last repeat it: computed in vain and never stored.
KILN_DEVICE void load_queries(const AttentionDecodeParams& p, const Job& job,
                              const Memory& memory) {
  const Global<const Io> q(static_cast<const Io*>(p.q.data));
  for (int i = thread_rank(); i < kRows * shape::D_qk; i += kThreads) {
    const int row = min(i / shape::D_qk, job.rows - 1);
    memory.queries.store(i,
                         q.load(job.n * p.q.sequence_stride + job.token_of(row) * p.q.token_stride +
                                job.head_of(row) * p.q.head_stride + i % shape::D_qk));
  }
}

// Eight elements of a query.
KILN_DEVICE void load_query(const Memory& memory, int at, float (&query)[kPart]) {
  constexpr int kAtOnce = min(kPart, 16 / int{sizeof(Io)});
#pragma unroll
  for (int i = 0; i < kPart; i += kAtOnce) {
    const auto some = memory.queries.load_vector<kAtOnce>(at + i);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) query[i + j] = to_float(some[j]);
  }
}

// The products of kKeyTokens tokens from `first` of the step on, by one group of lanes. Tokens from
// `count` on repeat the last one and are not stored: what lies behind the sequence is never read.
KILN_DEVICE void score_tokens(const KvCache& keys, const Memory& memory, int first, int count,
                              int buffer) {
  const int lane_in_group = thread_rank() % kKeyLanes;
  i64 rows[kKeyTokens];
#pragma unroll
  for (int r = 0; r < kKeyTokens; ++r) {
    rows[r] = memory.key_rows.load(buffer * kTile + min(first + r, count - 1));
  }
  float sums[kRows][kKeyTokens];
#pragma unroll
  for (int h = 0; h < kRows; ++h) {
#pragma unroll
    for (int r = 0; r < kKeyTokens; ++r) sums[h][r] = 0.0f;
  }
#pragma unroll 1
  for (int step = 0; step < kKeySteps; ++step) {
    int column = (step * kKeyLanes + lane_in_group) * kPart;
    // Lanes beyond the end of the keys multiply their last part, which counts for nothing.
    const bool beyond = kKeySteps * kKeyLanes != kKeyParts && column >= shape::D_qk;
    if (beyond) column = shape::D_qk - kPart;
    Part key[kKeyTokens];
#pragma unroll
    for (int r = 0; r < kKeyTokens; ++r) key[r] = load_part(keys, rows[r] + column);
#pragma unroll
    for (int h = 0; h < kRows; ++h) {
      float query[kPart];
      load_query(memory, h * shape::D_qk + column, query);
#pragma unroll
      for (int i = 0; i < kPart; ++i) {
        const float q = beyond ? 0.0f : query[i];
#pragma unroll
        for (int r = 0; r < kKeyTokens; ++r) sums[h][r] = fma(q, to_float(key[r][i]), sums[h][r]);
      }
    }
  }
  const int token = first + lane_in_group;
#pragma unroll
  for (int h = 0; h < kRows; ++h) {
    // A copy, since group_sum_scattered chooses between elements by their address, which would keep
    // all of `sums` in memory on AMD.
    float own[kKeyTokens];
#pragma unroll
    for (int r = 0; r < kKeyTokens; ++r) own[r] = sums[h][r];
    const float sum = group_sum_scattered<kKeyLanes>(own, lane_in_group);
    if (lane_in_group < kKeyTokens && token < count) {
      memory.weights.store((buffer * kTile + token) * kRows + h, sum);
    }
  }
}

KILN_DEVICE void score_step(const KvCache& keys, const Memory& memory, int count, int buffer) {
  const int first_of_group = thread_rank() / kKeyLanes * kKeyTokens;
  for (int pass = 0; pass < count; pass += kPassTokens) {
    score_tokens(keys, memory, pass + first_of_group, count, buffer);
  }
}

// The running softmax of the rows that a warp looks after: warp, warp + kWarps, ...
struct Softmax {
  LogitRow row[kRowsOfWarp];
  float maximum[kRowsOfWarp];  // of all scores so far, the same in every lane
  float total[kRowsOfWarp];    // of this lane's weights
};

KILN_DEVICE Softmax begin_softmax(const AttentionDecodeParams& p, const Job& job) {
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    softmax.row[i] = logit_row_of(p, job, min(warp() + i * kWarps, job.rows - 1));
    softmax.maximum[i] = minus_infinity();
    softmax.total[i] = 0.0f;
  }
  return softmax;
}

// The product of row `h` with `key`, to what the softmax takes.
KILN_DEVICE float score_of(const AttentionDecodeParams& p, const Job& job, const LogitRow& row,
                           int h, float product, int key) {
  if constexpr (kHasRules) {
    // A row that repeats the last one must not write a variant's tensors again.
    if (h >= job.rows || !is_visible(row, key)) return hidden_logit();
    const float score = logit(row, product, static_cast<float>(key - row.place));
    return ruled_logit(p, place_of(p, job, h, key), score);
  } else {
    return masked_logit(row, product, key);
  }
}

// `first`: the step's first token.
KILN_DEVICE void weigh_step(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                            Softmax& softmax, int first, int count, int buffer) {
  constexpr int kOwn = kTile / warp_size;  // tokens of a lane
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int h = warp() + i * kWarps;
    if (h >= kRows) break;
    const auto at = [&](int t) { return (buffer * kTile + t) * kRows + h; };
    float scores[kOwn];
    float top = minus_infinity();
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int t = lane() + j * warp_size;
      scores[j] = minus_infinity();
      if (t < count) {
        const float product = memory.weights.load(at(t));
        scores[j] = score_of(p, job, softmax.row[i], h, product, first + t);
      }
      if (!variant::softmax && t < count) memory.weights.store(at(t), scores[j]);
      top = max(top, scores[j]);
    }
    if constexpr (!variant::softmax) {
      if (lane() == 0) memory.factors.store(h, 1.0f);
      continue;
    }
    top = max(softmax.maximum[i], group_max(top));
    const float base = finite_maximum(top);
    const float factor = fast_exp2(softmax.maximum[i] - base);
    float total = softmax.total[i] * factor;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int t = lane() + j * warp_size;
      const float weight = fast_exp2(scores[j] - base);
      if (t < count) memory.weights.store(at(t), weight);
      total += weight;
    }
    softmax.maximum[i] = top;
    softmax.total[i] = total;
    if (lane() == 0) memory.factors.store(h, factor);
  }
}

// The sums of a thread: its columns of the values, over every kValueRows-th token.
struct Sums {
  float rows[kRows][kPart];
};

KILN_DEVICE void load_weights(const Memory& memory, int t, int buffer, float (&weights)[kRows]) {
  const int at = (buffer * kTile + t) * kRows;
  if constexpr (kRows % 4 == 0) {
#pragma unroll
    for (int h = 0; h < kRows; h += 4) {
      const Vec<float, 4> four = memory.weights.load_vector<4>(at + h);
#pragma unroll
      for (int i = 0; i < 4; ++i) weights[h + i] = four[i];
    }
  } else {
#pragma unroll
    for (int h = 0; h < kRows; ++h) weights[h] = memory.weights.load(at + h);
  }
}

KILN_DEVICE void add_values(const KvCache& values, const Memory& memory, Sums& sums, int count,
                            int buffer) {
#pragma unroll
  for (int h = 0; h < kRows; ++h) {
    const float factor = memory.factors.load(h);
#pragma unroll
    for (int i = 0; i < kPart; ++i) sums.rows[h][i] *= factor;
  }
  const int column = thread_rank() % kValueLanes * kPart;
  const int first = thread_rank() / kValueLanes;
  if (first >= kValueRows) return;
#pragma unroll 4
  for (int t = first; t < count; t += kValueRows) {
    const Part value = load_part(values, memory.value_rows.load(buffer * kTile + t) + column);
    float weights[kRows];
    load_weights(memory, t, buffer, weights);
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      const float v = to_float(value[i]);
#pragma unroll
      for (int h = 0; h < kRows; ++h) sums.rows[h][i] = fma(weights[h], v, sums.rows[h][i]);
    }
  }
}

// Finishes the softmax of each row; tells the other threads what to multiply their sums by.
KILN_DEVICE void finish_softmax(const AttentionDecodeParams& p, const Job& job,
                                const Memory& memory, const Softmax& softmax) {
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int h = warp() + i * kWarps;
    if (h >= job.rows) break;
    const float total = group_sum(softmax.total[i]);
    if (lane() != 0) continue;
    memory.factors.store(h, finish_row(p, job, h, softmax.maximum[i], total));
  }
}

// The output of one row, summed over the rows of `columns`.
KILN_DEVICE void store_row(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                           int h) {
  const float share = memory.factors.load(h);
  const RowOutput to = output_of(p, job, h);
#pragma unroll 1
  for (int column = thread_rank(); column < shape::D_vo; column += kThreads) {
    float sum = 0.0f;
#pragma unroll
    for (int r = 0; r < kValueRows; ++r) sum += memory.columns.load(r * shape::D_vo + column);
    store_column(p, to, column, sum * share);
  }
}

KILN_DEVICE void store_rows(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                            const Sums& sums) {
#pragma unroll
  for (int h = 0; h < kRows; ++h) {
#pragma unroll
    for (int i = 0; i < kPart; i += 4) {
      const Vec<float, 4> four = {
          {sums.rows[h][i], sums.rows[h][i + 1], sums.rows[h][i + 2], sums.rows[h][i + 3]}};
      memory.columns.store_vector<4>(thread_rank() * kPart + i, four);
    }
    block_barrier();
    if (h < job.rows) store_row(p, job, memory, h);
    block_barrier();
  }
}

}  // namespace attention_decode_detail

// Grid: x counts (sequence, key/value head, tile of rows), y the splits. Block: 128 threads.
KILN_KERNEL(128, 3) attention_decode_split(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  KILN_SHARED(Io, queries, kRows * shape::D_qk);
  KILN_SHARED(float, weights, 2 * kTile * kRows);
  KILN_SHARED(i64, key_rows, 2 * kTile);
  KILN_SHARED(i64, value_rows, 2 * kTile);
  KILN_SHARED(float, factors, kRows);
  KILN_SHARED(float, columns, kThreads* kPart);
  const Memory memory{queries, weights, key_rows, value_rows, factors, columns};

  dependency_wait();
  launch_dependents();

  const Job job = find_job(p, kRows);
  if (p.splits > 1 && job.tokens.begin >= job.tokens.end) return;  // the merge does not look here
  const Global<const i32> pages = pages_of(p, job);
  const KvCache keys = open_cache(p.k);
  const KvCache values = open_cache(p.v);
  Softmax softmax = begin_softmax(p, job);
  Sums sums;
#pragma unroll
  for (int h = 0; h < kRows; ++h) {
#pragma unroll
    for (int i = 0; i < kPart; ++i) sums.rows[h][i] = 0.0f;
  }

  load_queries(p, job, memory);
  find_rows(p, job, pages, key_rows, value_rows, 0, job.tokens.begin, kTile);
  block_barrier();
  int buffer = 0;
  for (int first = job.tokens.begin; first < job.tokens.end; first += kTile) {
    const int count = min(kTile, job.tokens.end - first);
    score_step(keys, memory, count, buffer);
    block_barrier();
    weigh_step(p, job, memory, softmax, first, count, buffer);
    find_rows(p, job, pages, key_rows, value_rows, (buffer ^ 1) * kTile, first + kTile, kTile);
    block_barrier();
    add_values(values, memory, sums, count, buffer);
    buffer ^= 1;
  }
  block_barrier();
  finish_softmax(p, job, memory, softmax);
  store_rows(p, job, memory, sums);
}

}  // namespace kiln
