// SPDX-License-Identifier: Apache-2.0
// attention_decode on the native CPU. A work item is one split of one sequence for rows (query
// heads of query tokens) that share a key/value head. Per step of 64 tokens: products of four
// tokens at a time with a few rows, weights, then the values, a block of columns at a time. While
// the products are computed the step's values are asked for, and while the values are added the
// next step's keys: the caches' own prefetchers do not follow from page to page of the cache.
#include "kiln/cpu.h"
#include "attention_decode/cpu_job.h"
#include "attention_decode/cpu_values.h"
#include "attention_decode/logits.h"
#include "attention_decode/params.h"
#include "attention_decode/split_range.h"
#include "attention_decode/splits.h"
#include "kiln/shape.h"

namespace kiln {
namespace attention_decode_detail {

// Products of pairs, where the processor has them: bf16 as it is, summed in fp32.
#if defined(__AVX512BF16__)
constexpr bool kPairs = is_same<Io, bf16> && is_same<Kv, bf16> && shape::D_qk % 32 == 0;
#else
constexpr bool kPairs = false;
#endif

KILN_DEVICE void start_item(const AttentionDecodeParams& p, const Job& job, Scratch& scratch) {
  const float scale = p.scale * scale_of(p.k, job);
  for (int h = 0; h < job.rows; ++h) {
    const int at = job.base + h;
    const int head = job.head_of(h);
    const Io* q = static_cast<const Io*>(p.q.data) + job.n * p.q.sequence_stride +
                  job.token_of(h) * p.q.token_stride + head * p.q.head_stride;
    if constexpr (kPairs) {
      for (int i = 0; i < shape::D_qk; i += 2 * vector_lanes) {
        Floats two;  // elements a lane
        __builtin_memcpy(&two, q + i, sizeof two);
        store(scratch.queries[at] + i / 2, two);
      }
    } else {
      for (int i = 0; i < shape::D_qk; i += vector_lanes) {
        store(scratch.queries[at] + i, load(q + i));
      }
    }
    for (int i = 0; i < shape::D_vo; i += vector_lanes) store(scratch.sums[at] + i, Floats(0.0f));
    scratch.maxima[at] = minus_infinity();
    scratch.totals[at] = 0.0f;
    const float slope = p.alibi_slopes != nullptr ? p.alibi_slopes[head] : 0.0f;
    LogitRow& row = scratch.logits[at];
    row = logit_row(p, scale, slope, job.length, job.token_of(h));
    row.end = min(row.end, job.tokens.end);
  }
}

// Sums of query times key over the whole head, lane by lane.
template <int rows>
KILN_DEVICE void multiply(const Scratch& scratch, const Kv* const* keys, int row,
                          Floats (&sums)[rows][kTokens]) {
#if defined(__AVX512BF16__)
  if constexpr (kPairs) {
    typedef __bf16 Pairs __attribute__((vector_size(64)));
    for (int i = 0; i < shape::D_qk; i += 32) {
      Pairs key[kTokens];
#pragma clang loop unroll(full)
      for (int r = 0; r < kTokens; ++r) __builtin_memcpy(&key[r], keys[r] + i, sizeof key[r]);
#pragma clang loop unroll(full)
      for (int h = 0; h < rows; ++h) {
        Pairs query;
        __builtin_memcpy(&query, scratch.queries[row + h] + i / 2, sizeof query);
#pragma clang loop unroll(full)
        for (int r = 0; r < kTokens; ++r) {
          sums[h][r] = __builtin_ia32_dpbf16ps_512(sums[h][r], query, key[r]);
        }
      }
    }
    return;
  }
#endif
  for (int i = 0; i < shape::D_qk; i += vector_lanes) {
    Floats key[kTokens];
#pragma clang loop unroll(full)
    for (int r = 0; r < kTokens; ++r) key[r] = load(keys[r] + i);
#pragma clang loop unroll(full)
    for (int h = 0; h < rows; ++h) {
      const Floats query = load(scratch.queries[row + h] + i);
#pragma clang loop unroll(full)
      for (int r = 0; r < kTokens; ++r) sums[h][r] = fma(query, key[r], sums[h][r]);
    }
  }
}

// The products of `rows` rows from `row` on with kTokens tokens from `t` on. Returns the row after
// them.
template <int rows>
KILN_DEVICE int score_block(Scratch& scratch, const Kv* const* keys, int row, int t) {
  Floats sums[rows][kTokens] = {};
  multiply(scratch, keys, row, sums);
#pragma clang loop unroll(full)
  for (int h = 0; h < rows; ++h) {
    const Floats4 scores = horizontal_sums(sums[h][0], sums[h][1], sums[h][2], sums[h][3]);
    __builtin_memcpy(scratch.weights[row + h] + t, &scores, sizeof scores);
  }
  return row + rows;
}

// A few tokens at a time of all heads, as they lie in memory.
KILN_DEVICE void score_step(const AttentionDecodeParams& p, Scratch& scratch, const Rows& at,
                            int heads, int rows) {
  for (int t = 0; t < at.count; t += kTokens) {
    const Kv* keys[kTokens];
    for (int r = 0; r < kTokens; ++r) keys[r] = at.keys[t + r];
    int row = 0;
    for (int i = 0; i < heads; ++i) {
      if constexpr (!shape::v_in_k) {  // else the values come with the keys
        for (int r = 0; r < kTokens; ++r) {
          const Kv* value = at.values[t + r] + i * p.v.head_stride;
          for (int c = 0; c < shape::D_vo; c += kLineElements) prefetch_far(value + c);
        }
      }
      const int end = row + rows;
      while (row + kRowBlock <= end) row = score_block<kRowBlock>(scratch, keys, row, t);
      while (row + 2 <= end) row = score_block<2>(scratch, keys, row, t);
      if (row < end) row = score_block<1>(scratch, keys, row, t);
      for (int r = 0; r < kTokens; ++r) keys[r] += p.k.head_stride;
    }
  }
}

// Of the tokens from `key` on, in the weights' place at `t`: products to what the softmax takes.
KILN_DEVICE Floats logits_at(const LogitRow& row, const float* products, int key, bool all_seen) {
  Ints keys;
  for (int i = 0; i < vector_lanes; ++i) keys[i] = i;
  keys += Ints(key);
  const Floats distance = __builtin_convertvector(keys - Ints(row.place), Floats);
  const Floats scores = logit(row, load(products), distance);
  if (all_seen) return scores;
  return select((keys >= Ints(row.begin)) & (keys < Ints(row.end)), scores,
                Floats(minus_infinity()));
}

// What a variant's expressions make of the scores of row `h` of the job. Returns the largest.
KILN_DEVICE float apply_rules(const AttentionDecodeParams& p, const Job& job, int h, int first,
                              int count, Scratch& scratch) {
  const LogitRow& row = scratch.logits[job.base + h];
  float* weights = scratch.weights[job.base + h];
  float top = minus_infinity();
  for (int t = 0; t < count; ++t) {
    const int key = first + t;
    weights[t] = is_visible(row, key) ? ruled_logit(p, place_of(p, job, h, key), weights[t])
                                      : hidden_logit();
    top = max(top, weights[t]);
  }
  return top;
}

// `first`: the step's first token.
KILN_DEVICE void weigh_step(const AttentionDecodeParams& p, const Job& job, int first, int count,
                            Scratch& scratch) {
  const int whole = ceil_div(count, vector_lanes) * vector_lanes;
  for (int h = job.base; h < job.base + job.rows; ++h) {
    const LogitRow& row = scratch.logits[h];
    const bool all_seen = first >= row.begin && first + whole <= row.end;
    float* weights = scratch.weights[h];
    Floats tops(minus_infinity());
    for (int t = 0; t < whole; t += vector_lanes) {
      const Floats scores = logits_at(row, weights + t, first + t, all_seen);
      store(weights + t, scores);
      tops = select(tops < scores, scores, tops);
    }
    if constexpr (kHasRules)
      tops = Floats(apply_rules(p, job, h - job.base, first, count, scratch));
    if constexpr (!variant::softmax) {
      scratch.factors[h] = 1.0f;
      continue;
    }
    const float top = max(scratch.maxima[h], horizontal_max(tops));
    const float low = finite_maximum(top);
    scratch.factors[h] = exp2(scratch.maxima[h] - low);
    scratch.maxima[h] = top;
    Floats total(0.0f);
    for (int t = 0; t < whole; t += vector_lanes) {
      const Floats weight = exp2(load(weights + t) - Floats(low));
      store(weights + t, weight);
      total += weight;
    }
    scratch.totals[h] = fma(scratch.totals[h], scratch.factors[h], horizontal_sum(total));
  }
}

KILN_DEVICE void store_row(const AttentionDecodeParams& p, i64 n, int token, int head,
                           const float* sums, const RowEnd& end, float scale) {
  const Floats share(end.share * scale);
  Io* out = static_cast<Io*>(p.out.data) + n * p.out.sequence_stride + token * p.out.token_stride +
            head * p.out.head_stride;
  for (int i = 0; i < shape::D_vo; i += vector_lanes) store(out + i, load(sums + i) * share);
  if (p.lse == nullptr) return;
  p.lse[n * p.lse_sequence_stride + token * p.lse_token_stride + head] =
      end.lse_log2 * math_detail::kLn2;
}

KILN_DEVICE float sink_of(const AttentionDecodeParams& p, const VariantPlace& place) {
  return sink_log2(p, place, p.sinks != nullptr ? p.sinks[place.qo_head_idx] : minus_infinity());
}

// Final, or partial with other splits.
KILN_DEVICE void finish_item(const AttentionDecodeParams& p, const Job& job, Scratch& scratch) {
  const float scale = scale_of(p.v, job);
  for (int h = 0; h < job.rows; ++h) {
    const int head = job.head_of(h);
    const int token = job.token_of(h);
    const float* sums = scratch.sums[job.base + h];
    if (p.splits == 1) {
      const RowEnd end = end_row(scratch.maxima[job.base + h], scratch.totals[job.base + h],
                                 sink_of(p, place_of(p, job, h, 0)));
      store_row(p, job.n, token, head, sums, end, scale);
      continue;
    }
    const RowEnd end =
        end_row(scratch.maxima[job.base + h], scratch.totals[job.base + h], minus_infinity());
    const Floats share(end.share * scale);
    const i64 row = partial_row(p, job.n, token, head, job.split);
    float* partial = p.workspace + row * shape::D_vo;
    for (int i = 0; i < shape::D_vo; i += vector_lanes) store(partial + i, load(sums + i) * share);
    p.workspace[partial_rows(p) * shape::D_vo + row] = end.lse_log2;
  }
}

// The item of the key/value head that is `i` heads on.
KILN_DEVICE Job heads_on(const Job& job, int i) {
  Job other = job;
  other.kv_head += i;
  other.base = i * job.rows;
  return other;
}

// The items of `heads` neighbouring key/value heads together: in a page of the usual layout their
// rows lie side by side. Memory is read, and asked for, in the order in which it lies there; head
// after head, the same bytes took a third longer. `following`: whose first keys to ask for at last.
KILN_DEVICE void run_items(const AttentionDecodeParams& p, const Job& job, int heads,
                           const Job& following, Scratch& scratch) {
  if (p.splits > 1 && job.tokens.begin >= job.tokens.end) return;  // the merge does not look here
  for (int i = 0; i < heads; ++i) start_item(p, heads_on(job, i), scratch);
  Rows steps[2];
  int current = 0;
  find_rows(p, job, job.tokens.begin, steps[0]);
  for (int first = job.tokens.begin; first < job.tokens.end; first += kTile) {
    const Rows& step = steps[current];
    current ^= 1;
    const bool last = first + kTile >= job.tokens.end;
    find_rows(p, last ? following : job, last ? following.tokens.begin : first + kTile,
              steps[current]);
    score_step(p, scratch, step, heads, job.rows);
    for (int i = 0; i < heads; ++i) weigh_step(p, heads_on(job, i), first, step.count, scratch);
    add_step(p, scratch, step, steps[current], heads, job.rows);
  }
  for (int i = 0; i < heads; ++i) finish_item(p, heads_on(job, i), scratch);
}

// Neighbours among the items read neighbouring heads of the same tokens.
KILN_DEVICE Job find_job(const AttentionDecodeParams& p, i64 item) {
  const int rows = p.q_tokens * kGroupHeads;
  const int tile_rows = attention_decode_tile_rows(rows, kRowsMax);
  const int tiles = ceil_div(rows, tile_rows);
  const i64 head_item = item / tiles;
  const i64 split_item = head_item / shape::Hkv;
  Job job;
  job.kv_head = static_cast<int>(head_item % shape::Hkv);
  job.split = static_cast<int>(split_item % p.splits);
  job.n = split_item / p.splits;
  job.first_row = static_cast<int>(item % tiles) * tile_rows;
  job.rows = min(tile_rows, rows - job.first_row);
  job.length = length_of(p, job.n);
  job.tokens = split_range(p, job.length, job.split);
  job.base = 0;
  return job;
}

// How many of the items from that of `job` on, `count` at most, are of its split's neighbouring
// heads and fit into the scratch memory.
KILN_DEVICE int heads_together(const AttentionDecodeParams& p, const Job& job, i64 count) {
  if (job.rows != p.q_tokens * kGroupHeads) return 1;  // a head is several items
  const int room = min(shape::Hkv - job.kv_head, kRowsMax / job.rows);
  return static_cast<int>(min(count, static_cast<i64>(room)));
}

// Puts the splits of one output row together, in their order.
KILN_DEVICE void merge_row(const AttentionDecodeParams& p, i64 n, int token, int head,
                           float* sums) {
  const i64 row = partial_row(p, n, token, head, 0);
  const float* partials = p.workspace + row * shape::D_vo;
  const float* logs = p.workspace + partial_rows(p) * shape::D_vo + row;
  const int length = length_of(p, n);
  const int splits = used_splits(p, length);
  float top = minus_infinity();
  for (int split = 0; split < splits; ++split) top = max(top, logs[split]);
  const float base = finite_maximum(top);
  for (int c = 0; c < shape::D_vo; c += vector_lanes) store(sums + c, Floats(0.0f));
  float total = 0.0f;
  for (int split = 0; split < splits; ++split) {
    const float weight = exp2(logs[split] - base);
    total += weight;
    for (int c = 0; c < shape::D_vo; c += vector_lanes) {
      const float* from = partials + static_cast<i64>(split) * shape::D_vo + c;
      store(sums + c, fma(Floats(weight), load(from), load(sums + c)));
    }
  }
  const float sink = sink_of(p, place_at(p, n, token, head, length, 0));
  store_row(p, n, token, head, sums, end_row(top, total, sink), 1.0f);
}

}  // namespace attention_decode_detail

KILN_CPU_KERNEL(attention_decode_cpu_split, host, params, first, last) {
  using namespace attention_decode_detail;
  const AttentionDecodeParams& p = *static_cast<const AttentionDecodeParams*>(params);
  Scratch& scratch = *static_cast<Scratch*>(host->scratch);
  Job job = find_job(p, first);
  for (i64 item = first; item < last;) {
    const int heads = heads_together(p, job, last - item);
    item += heads;
    Job following = find_job(p, min(item, last - 1));
    if (item == last) following.tokens.begin = following.tokens.end;
    run_items(p, job, heads, following, scratch);
    job = following;
  }
}

KILN_CPU_KERNEL(attention_decode_cpu_merge, host, params, first, last) {
  using namespace attention_decode_detail;
  const AttentionDecodeParams& p = *static_cast<const AttentionDecodeParams*>(params);
  float* sums = static_cast<Scratch*>(host->scratch)->sums[0];
  for (i64 row = first; row < last; ++row) {
    const i64 token = row / shape::Hq;
    merge_row(p, token / p.q_tokens, static_cast<int>(token % p.q_tokens),
              static_cast<int>(row % shape::Hq), sums);
  }
}

}  // namespace kiln
