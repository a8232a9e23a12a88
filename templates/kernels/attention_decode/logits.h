// SPDX-License-Identifier: Apache-2.0
// From the product of a query and a key to what the softmax takes, and from the softmax to output
// and logarithm: the one place where a score is scaled, biased, capped and masked, on GPU and CPU.
//
//   s = scale q.k + slope (j - i);  s = c tanh(s / c);  a variant's expressions;  hidden: -infinity
//
// for key j and the query token at place i. All in base 2: the softmax takes s log2(e). Where a
// variant has expressions for scores, these are natural until it has seen them.
#pragma once

#include "attention/variant.h"
#include "attention_decode/params.h"
#include "kiln/fast_math.h"
#include "kiln/math.h"
#include "kiln/shape.h"

namespace kiln {
namespace attention_decode_detail {

KILN_DEVICE float minus_infinity() {
  return bit_cast<float>(0xff800000u);
}
// What to subtract from scores before 2^x: with nothing but -infinity so far, any finite number
// gives the zeros that -infinity itself would turn into NaN.
KILN_DEVICE float finite_maximum(float maximum) {
  return maximum == minus_infinity() ? 0.0f : maximum;
}

// Whether scores go through a variant's expressions, or are no softmax's.
constexpr bool kHasRules = variant::has_logits || variant::has_mask || !variant::softmax;
// What makes logit() of a natural score.
constexpr float kLogitUnit = kHasRules ? 1.0f : math_detail::kLog2E;

// What the scores of one row (a query head of a query token) have in common.
struct LogitRow {
  float scale;  // of q.k, with what follows already in it
  float slope;
  float cap;  // of the result; only where the shape caps
  int place;  // of the query token among its sequence's tokens
  int begin;  // keys that it sees
  int end;
};

// `scale`: the call's times that of the keys. `place` may be negative: then it sees nothing.
KILN_DEVICE LogitRow logit_row(const AttentionDecodeParams& p, float scale, float slope, int length,
                               int token) {
  LogitRow row;
  const float unit = shape::softcap ? divide(1.0f, p.softcap) : kLogitUnit;
  row.scale = scale * unit;
  row.slope = slope * unit;
  row.cap = p.softcap * kLogitUnit;
  row.place = length - p.q_tokens + token;
  const i64 begin = p.window_left < 0 ? 0 : static_cast<i64>(row.place) - p.window_left;
  row.begin = static_cast<int>(max(i64{0}, begin));
  row.end = row.place + 1;
  return row;
}

// F: float, or a vector of the native CPU.
template <class F>
KILN_DEVICE F logit(const LogitRow& row, F product, F distance) {
  const F biased = fma(distance, F(row.slope), product * F(row.scale));
  if constexpr (shape::softcap) return tanh(biased) * F(row.cap);
  return biased;
}
KILN_DEVICE bool is_visible(const LogitRow& row, int key) {
  return key >= row.begin && key < row.end;
}
// The product of the row's query with `key`, to what the softmax takes. Without rules.
KILN_DEVICE float masked_logit(const LogitRow& row, float product, int key) {
  const float score = logit(row, product, static_cast<float>(key - row.place));
  return is_visible(row, key) ? score : minus_infinity();
}

KILN_DEVICE VariantPlace place_at(const AttentionDecodeParams& p, i64 n, int token, int head,
                                  int length, int key) {
  return {static_cast<int>(n),
          token,
          key,
          head,
          head / (shape::Hq / shape::Hkv),
          p.q_tokens,
          length,
          n * p.q_tokens + token,
          n * p.pages_max * p.page_size + key};
}
// `row` of a Job, of the GPU or the CPU.
template <class Job>
KILN_DEVICE VariantPlace place_of(const AttentionDecodeParams& p, const Job& job, int row,
                                  int key) {
  return place_at(p, job.n, job.token_of(row), job.head_of(row), job.length, key);
}

// What the softmax takes for a key that is not seen; without one, a weight.
KILN_DEVICE float hidden_logit() {
  return variant::softmax ? minus_infinity() : 0.0f;
}
// With rules: the logit() of a key that is seen, to what the softmax takes, or to the weight.
KILN_DEVICE float ruled_logit(const AttentionDecodeParams& p, const VariantPlace& place,
                              float score) {
  if constexpr (variant::has_mask) {
    if (!variant::mask(p.variant, place)) return hidden_logit();
  }
  if constexpr (variant::has_logits) score = variant::logits(p.variant, place, score);
  return variant::softmax ? score * math_detail::kLog2E : score;
}

// The score of no value that joins a row's sum, in base 2: the head's `own`, and the variant's.
KILN_DEVICE float sink_log2(const AttentionDecodeParams& p, const VariantPlace& place, float own) {
  float sink = own;
  if constexpr (variant::has_sink) {
    const float other = variant::sink(p.variant, place);
    const float larger = max(own, other);
    // Equal infinities have no difference.
    const float more = own == other ? math_detail::kLn2 : log1p(exp(min(own, other) - larger));
    sink = larger + more;
  }
  return sink * math_detail::kLog2E;
}

// A row whose softmax is done: what to multiply its sum of weight times value by, and the base-2
// logarithm of the sum of weights.
struct RowEnd {
  float share;
  float lse_log2;
};
// `total`: of 2^(score - maximum). `sink`: one more score, of no value; -infinity: none. Without a
// softmax the sums are the result, and those of splits are added as they are: 2^0 times each.
KILN_DEVICE RowEnd end_row(float maximum, float total, float sink) {
  if constexpr (!variant::softmax) return {1.0f, 0.0f};
  const float top = max(maximum, sink);
  const float base = finite_maximum(top);
  const float factor = fast_exp2(maximum - base);
  const float all = fma(total, factor, fast_exp2(sink - base));
  if (all == 0.0f) return {0.0f, minus_infinity()};
  return {divide(factor, all), base + log2(all)};
}

}  // namespace attention_decode_detail
}  // namespace kiln
