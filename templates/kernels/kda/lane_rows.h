// SPDX-License-Identifier: Apache-2.0
// State rows of Kimi Delta Attention in the registers of a warp: groups of K / 4 lanes own one row
// each, a lane holds four of its columns and moves them by one 128-bit access. kda_decode takes
// each row through once, kda_prefill keeps it for all tokens of a sequence.
//
// With S the state, d the gate, u = beta (v - S d k), a token needs both dot products of the
// decayed row, with k and with q, at once: o = (S d) q + u (k q). Hence one sweep per token.
//
// `Params` is the parameter struct of either op: what they have in common is named alike.
#pragma once

#include "kiln/convert.h"
#include "kiln/global.h"
#include "kiln/math.h"
#include "kiln/shape.h"
#include "kiln/thread.h"
#include "kiln/warp.h"

namespace kiln {
namespace kda_detail {

using Io = bf16;
constexpr int kColumns = 4;                  // of a lane
constexpr int kGroup = shape::K / kColumns;  // lanes that share a row
constexpr int kGroups = warp_size / kGroup;  // rows that a warp moves at once
constexpr int kRowsInFlight = 4;             // per group
constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kBatchRows = kGroups * kRowsInFlight;  // rows of one step of a warp
static_assert(warp_size % kGroup == 0 && shape::V % kBatchRows == 0, "refused by can_build");

using Columns = Vec<float, kColumns>;

// What all rows of a head share: this lane's columns of it, and two numbers per head.
struct Head {
  Columns decay;  // e^g
  Columns k;      // normalised
  Columns q;      // normalised and scaled
  float kq;       // k . q
  float beta;
};

KILN_DEVICE Columns load_columns(const void* data, i64 offset) {
  const Global<const Io> row(static_cast<const Io*>(data));
  Columns columns;
  if (row.aligned(offset, sizeof(Io) * kColumns)) {
    const Vec<Io, kColumns> raw = row.load_vector<kColumns, Cache::readonly>(offset);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) columns[i] = to_float(raw[i]);
  } else {  // a view into a packed buffer may begin anywhere
#pragma unroll
    for (int i = 0; i < kColumns; ++i) columns[i] = to_float(row.load(offset + i));
  }
  return columns;
}

KILN_DEVICE float dot(const Columns& a, const Columns& b) {
  float sum = a[0] * b[0];
#pragma unroll
  for (int i = 1; i < kColumns; ++i) sum = fma(a[i], b[i], sum);
  return sum;
}

KILN_DEVICE void scale_columns(Columns& columns, float factor) {
#pragma unroll
  for (int i = 0; i < kColumns; ++i) columns[i] *= factor;
}

// The gate's inputs that no kernel writes: read before the dependency wait.
struct GateWeights {
  float rate;  // e^A_log
  Columns bias;
};

template <class Params>
KILN_DEVICE GateWeights load_gate_weights(const Params& p, int hv, int column) {
  GateWeights weights;
  weights.rate = exp(Global<const float>(p.a_log).load(hv));
  weights.bias = Columns{{0.0f, 0.0f, 0.0f, 0.0f}};
  if (p.dt_bias != nullptr) {
    const Global<const float> bias(p.dt_bias);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) weights.bias[i] = bias.load(hv * shape::K + column + i);
  }
  return weights;
}

// e^(-rate softplus(x)) for x = a + bias.
template <class Params>
KILN_DEVICE Columns decay_of(const Params& p, const GateWeights& weights, Columns a) {
  const float beta = p.softplus_beta;
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const float x = a[i] + weights.bias[i];
    const float smooth = divide(softplus(beta * x), beta);
    a[i] = exp(-weights.rate * (beta * x > p.softplus_threshold ? x : smooth));
  }
  return a;
}

template <class Heads>
KILN_DEVICE i64 head_offset(const Heads& tensor, i64 n, int head) {
  return n * tensor.token_stride + head * tensor.head_stride;
}

// What one token hands to one head, as it lies in memory.
struct Token {
  Columns q;
  Columns k;
  Columns a;
  float b;
};

template <class Params>
KILN_DEVICE Token load_token(const Params& p, i64 n, int hv, int column) {
  const int h = hv / (shape::HV / shape::H);
  Token token;
  token.q = load_columns(p.q.data, head_offset(p.q, n, h) + column);
  token.k = load_columns(p.k.data, head_offset(p.k, n, h) + column);
  token.a = load_columns(p.a.data, head_offset(p.a, n, hv) + column);
  const Global<const Io> b(static_cast<const Io*>(p.b));
  token.b = to_float(b.load(n * p.b_token_stride + hv));
  return token;
}

template <class Params>
KILN_DEVICE Head head_of(const Params& p, const GateWeights& weights, const Token& token) {
  Head head;
  head.q = token.q;
  head.k = token.k;
  head.beta = sigmoid(token.b);
  head.decay = decay_of(p, weights, token.a);
  if constexpr (shape::qk_l2norm) {
    scale_columns(head.q, rsqrt(group_sum<kGroup>(dot(head.q, head.q)) + p.l2norm_eps));
    scale_columns(head.k, rsqrt(group_sum<kGroup>(dot(head.k, head.k)) + p.l2norm_eps));
  }
  scale_columns(head.q, p.scale);
  head.kq = group_sum<kGroup>(dot(head.k, head.q));
  return head;
}

struct Rows {
  Columns columns[kRowsInFlight];
};

// Row r, from 0 to kRowsInFlight - 1, of the step that begins at row `first`: one in every kGroups.
KILN_DEVICE int row_of(int first, int r, int group) {
  return first + r * kGroups + group;
}

KILN_DEVICE Rows load_rows(const Global<float>& state, int first, int group, int column) {
  Rows rows;
#pragma unroll
  for (int r = 0; r < kRowsInFlight; ++r) {
    rows.columns[r] =
        state.load_vector<kColumns, Cache::streaming>(row_of(first, r, group) * shape::K + column);
  }
  return rows;
}

KILN_DEVICE void store_rows(const Global<float>& state, const Rows& rows, int first, int group,
                            int column) {
#pragma unroll
  for (int r = 0; r < kRowsInFlight; ++r) {
    state.store_vector<kColumns, Cache::streaming>(row_of(first, r, group) * shape::K + column,
                                                   rows.columns[r]);
  }
}

// Takes the rows over one token. Lane l of a group computes u and o of row l % kRowsInFlight, whose
// v it gets and whose o it returns; the lanes from kRowsInFlight on do so in vain.
KILN_DEVICE float advance_rows(const Head& head, float v, Rows& rows, int lane_in_group) {
  float along_k[kRowsInFlight];
  float along_q[kRowsInFlight];
#pragma unroll
  for (int r = 0; r < kRowsInFlight; ++r) {
    Columns& row = rows.columns[r];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) row[i] *= head.decay[i];
    along_k[r] = dot(row, head.k);
    along_q[r] = dot(row, head.q);
  }
  const float sum_k = group_sum_scattered<kGroup>(along_k, lane_in_group);
  const float sum_q = group_sum_scattered<kGroup>(along_q, lane_in_group);
  const float own_u = head.beta * (v - sum_k);
#pragma unroll
  for (int r = 0; r < kRowsInFlight; ++r) {
    const float u = shuffle(own_u, r, kGroup);
    Columns& row = rows.columns[r];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) row[i] = fma(u, head.k[i], row[i]);
  }
  return fma(own_u, head.kq, sum_q);
}

template <class Params>
KILN_DEVICE i64 slot_of(const Params& p, i64 n) {
  if (p.slot_bytes == 8) return Global<const i64>(static_cast<const i64*>(p.slots)).load(n);
  return Global<const i32>(static_cast<const i32*>(p.slots)).load(n);
}

// Zeros to the elements of `out` from `first` on, by the threads of the block together.
KILN_DEVICE void clear_rows(const Global<Io>& out, int first, int count) {
  for (int row = thread_rank(); row < count; row += kThreads) {
    out.store(first + row, from_float<Io>(0.0f));
  }
}

}  // namespace kda_detail
}  // namespace kiln
