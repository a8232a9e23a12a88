// SPDX-License-Identifier: Apache-2.0
// From the product of a query and a key to what the softmax takes, and from the softmax to output
// and logarithm: the one place where a score is scaled, biased, capped and masked, on GPU and CPU.
//
//   s = scale q.k + slope (j - i);  s = c tanh(s / c);  hidden: -infinity
//
// for key j and the query token at place i. All in base 2: the softmax takes s log2(e).
#pragma once

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
  const float unit = shape::softcap ? divide(1.0f, p.softcap) : math_detail::kLog2E;
  row.scale = scale * unit;
  row.slope = slope * unit;
  row.cap = p.softcap * math_detail::kLog2E;
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
// The product of the row's query with `key`, to what the softmax takes.
KILN_DEVICE float masked_logit(const LogitRow& row, float product, int key) {
  const float score = logit(row, product, static_cast<float>(key - row.place));
  return is_visible(row, key) ? score : minus_infinity();
}

// A row whose softmax is done: what to multiply its sum of weight times value by, and the base-2
// logarithm of the sum of weights.
struct RowEnd {
  float share;
  float lse_log2;
};
// `total`: of 2^(score - maximum). `sink_log2`: one more score, of no value; -infinity: none.
KILN_DEVICE RowEnd end_row(float maximum, float total, float sink_log2) {
  const float top = max(maximum, sink_log2);
  const float base = finite_maximum(top);
  const float factor = fast_exp2(maximum - base);
  const float all = fma(total, factor, fast_exp2(sink_log2 - base));
  if (all == 0.0f) return {0.0f, minus_infinity()};
  return {divide(factor, all), base + log2(all)};
}

}  // namespace attention_decode_detail
}  // namespace kiln
