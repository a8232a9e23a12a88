// SPDX-License-Identifier: Apache-2.0
// What the native CPU does with a state of Kimi Delta Attention, for kda_decode and kda_prefill
// alike: a prefill gives the bits that decoding token by token would. A step takes a few values of
// V: the first sweep over their part of the state makes both dot products of each (see kda/lanes.h
// for why two at once suffice), the second one, from the caches, updates and stores it.
#pragma once

#include "kda/gate.h"
#include "kiln/cpu.h"
#include "varlen/sequences.h"

namespace kiln {
namespace kda_detail {

// What lies densely in the state, keys in layout VK and values in layout KV, is in registers and in
// scratch memory in the order of State (see load_pair()).
constexpr int kPair = 2 * vector_lanes;
using KeyOrder = StorageType<kVk && shape::state_is::bf16, false>;

constexpr int kVectors = shape::K / vector_lanes;  // of a row of K
constexpr int kRows = 4;                           // values of a step, layout VK
// Layout KV: as many vectors of values as leave registers for the rest.
constexpr int kColumnPairs = min(64 / vector_lanes, 8) / 2;
constexpr int kColumns = kColumnPairs * kPair;
constexpr int kStep = kVk ? kRows : kColumns;

// How far ahead the state is asked for: the caches' own prefetchers stop at each 4 KiB page. In
// layout VK 8 KiB, a line with every line that is used: with more at once, or a whole state ahead,
// memory waited for arithmetic (bf16: 70 % of its bandwidth, not 90). Into the second level: of
// what was asked for into the first, a part was gone again before its turn (f32: 70 %, not 86).
constexpr int kPrefetchRows = kVk ? 8192 / (shape::K * int{sizeof(State)}) : 32;
static_assert(kPrefetchRows % kRows == 0);
constexpr int kLineBytes = 64;

KILN_DEVICE void prefetch_row(const State* row, int count) {
  for (int i = 0; i < count; i += kLineBytes / int{sizeof(State)}) prefetch_far(row + i);
}
// The lines that begin among the elements c to c + kPair of a row.
KILN_DEVICE void prefetch_pair(const State* row, int c) {
  if (c * int{sizeof(State)} % kLineBytes == 0) prefetch_row(row + c, kPair);
}

// What all values of a head share; keys in the order of KeyOrder.
struct alignas(64) Head {
  float decay[shape::K];    // e^g
  float k[shape::K];        // normalised
  float decay_k[shape::K];  // decay times k, so that the undecayed state gives both products
  float decay_q[shape::K];  // decay times q, normalised and scaled
  float kq;                 // k . q
  float beta;
};

KILN_DEVICE float dot(const float* a, const float* b) {
  Floats sum = load(a) * load(b);
  for (int c = 1; c < kVectors; ++c) {
    sum = fma(load(a + c * vector_lanes), load(b + c * vector_lanes), sum);
  }
  return horizontal_sum(sum);
}

template <class T>
KILN_DEVICE void load_row(const void* data, i64 offset, float factor, float* row) {
  const T* from = static_cast<const T*>(data) + offset;
  for (int c = 0; c < shape::K; c += kPair) {
    const FloatsPair x = load_pair<KeyOrder>(from + c);
    store_pair<float>(row + c, {x.one * Floats(factor), x.two * Floats(factor)});
  }
}

template <class T>
KILN_DEVICE const T* element_of(const KdaHeads& heads, i64 n, i64 t, int head) {
  return static_cast<const T*>(heads.data) + offset_of(heads, n, t, head);
}

KILN_DEVICE void load_decay(const KdaParams& p, i64 n, i64 t, int hv, float* decay) {
  const float rate = kGateHasWeights ? rate_of(p.a_log != nullptr ? p.a_log[hv] : 0.0f) : 0.0f;
  const bool biased = kGateHasWeights && p.dt_bias != nullptr;
  const GateIo* a = element_of<GateIo>(p.a, n, t, hv);
  if constexpr (kScalarGate) {
    const Floats whole(decay_of(p, rate, to_float(a[0]) + (biased ? p.dt_bias[hv] : 0.0f)));
    for (int c = 0; c < shape::K; c += vector_lanes) store(decay + c, whole);
  } else {
    for (int c = 0; c < shape::K; c += kPair) {
      FloatsPair x = load_pair<KeyOrder>(a + c);
      if (biased) {
        const FloatsPair bias = load_pair<KeyOrder>(p.dt_bias + hv * shape::K + c);
        x = {x.one + bias.one, x.two + bias.two};
      }
      store_pair<float>(decay + c, {decay_of(p, rate, x.one), decay_of(p, rate, x.two)});
    }
  }
}

// Token t of value head hv.
KILN_DEVICE void load_head(const KdaParams& p, i64 n, i64 t, int hv, Head& head) {
  const int h = hv / (shape::HV / shape::H);
  alignas(64) float q[shape::K];
  load_row<Io>(p.q.data, offset_of(p.q, n, t, h), 1.0f, q);
  load_row<Io>(p.k.data, offset_of(p.k, n, t, h), 1.0f, head.k);
  float q_factor = p.scale;
  float k_factor = 1.0f;
  if constexpr (shape::qk_l2norm) {
    q_factor *= rsqrt(dot(q, q) + p.l2norm_eps);
    k_factor = rsqrt(dot(head.k, head.k) + p.l2norm_eps);
  }
  head.beta = beta_of(to_float(*element_of<GateIo>(p.b, n, t, hv)));
  load_decay(p, n, t, hv, head.decay);
  for (int c = 0; c < shape::K; c += vector_lanes) {
    const Floats decay = load(head.decay + c);
    const Floats k = load(head.k + c) * Floats(k_factor);
    store(q + c, load(q + c) * Floats(q_factor));
    store(head.k + c, k);
    store(head.decay_k + c, decay * k);
    store(head.decay_q + c, decay * load(q + c));
  }
  head.kq = dot(head.k, q);
}

// Rows `state` to state + kRows of layout VK: updates them and gives their outputs. Asks for the
// rows at `ahead` meanwhile, half of them in each sweep.
template <class S>
KILN_DEVICE void update_rows(S* state, const Head& head, const Io* v, Io* out, const State* ahead) {
  Floats along_k[kRows] = {};
  Floats along_q[kRows] = {};
#pragma clang loop unroll_count(4)
  for (int c = 0; c < shape::K; c += kPair) {
    const FloatsPair decay_k = load_pair<float>(head.decay_k + c);
    const FloatsPair decay_q = load_pair<float>(head.decay_q + c);
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      const FloatsPair row = load_pair<S>(state + r * shape::K + c);
      if (r < kRows / 2) prefetch_pair(ahead + r * shape::K, c);
      along_k[r] = fma(row.one, decay_k.one, along_k[r]);
      along_q[r] = fma(row.one, decay_q.one, along_q[r]);
      along_k[r] = fma(row.two, decay_k.two, along_k[r]);
      along_q[r] = fma(row.two, decay_q.two, along_q[r]);
    }
  }
  const Floats4 sum_k = horizontal_sums(along_k[0], along_k[1], along_k[2], along_k[3]);
  const Floats4 sum_q = horizontal_sums(along_q[0], along_q[1], along_q[2], along_q[3]);
  const Floats4 value = {to_float(v[0]), to_float(v[1]), to_float(v[2]), to_float(v[3])};
  const Floats4 u = head.beta * (value - sum_k);
  const Floats4 o = sum_q + u * head.kq;
  // Not unrolled: the compiler would keep what the first sweep loaded, most of it on the stack.
#pragma clang loop unroll(disable)
  for (int c = 0; c < shape::K; c += kPair) {
    const FloatsPair decay = load_pair<float>(head.decay + c);
    const FloatsPair k = load_pair<float>(head.k + c);
    S* at[kRows];
    FloatsPair next[kRows];
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      at[r] = state + r * shape::K + c;
      const FloatsPair row = load_pair<S>(at[r]);
      if (r >= kRows / 2) prefetch_pair(ahead + r * shape::K, c);
      next[r] = {fma(Floats(u[r]), k.one, row.one * decay.one),
                 fma(Floats(u[r]), k.two, row.two * decay.two)};
    }
    store_pairs<S>(at, next);
  }
  for (int r = 0; r < kRows; ++r) out[r] = from_float<Io>(o[r]);
}

// The same for kColumns columns of layout KV, whose rows are `stride` apart.
template <class S>
KILN_DEVICE void update_columns(S* state, i64 stride, const Head& head, const Io* v, Io* out) {
  FloatsPair along_k[kColumnPairs] = {};
  FloatsPair along_q[kColumnPairs] = {};
  for (int j = 0; j < shape::K; ++j) {
    const S* row = state + j * stride;
    const Floats decay_k(head.decay_k[j]);
    const Floats decay_q(head.decay_q[j]);
    if (is_same<S, State> && j + kPrefetchRows < shape::K) {
      prefetch_row(reinterpret_cast<const State*>(row + kPrefetchRows * stride), kColumns);
    }
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnPairs; ++c) {
      const FloatsPair at = load_pair<S>(row + c * kPair);
      along_k[c] = {fma(at.one, decay_k, along_k[c].one), fma(at.two, decay_k, along_k[c].two)};
      along_q[c] = {fma(at.one, decay_q, along_q[c].one), fma(at.two, decay_q, along_q[c].two)};
    }
  }
  FloatsPair u[kColumnPairs];
  const Floats beta(head.beta);
  const Floats kq(head.kq);
  for (int c = 0; c < kColumnPairs; ++c) {
    const FloatsPair value = load_pair<State>(v + c * kPair);
    u[c] = {beta * (value.one - along_k[c].one), beta * (value.two - along_k[c].two)};
    store_pair<State>(out + c * kPair,
                      {along_q[c].one + u[c].one * kq, along_q[c].two + u[c].two * kq});
  }
  for (int j = 0; j < shape::K; ++j) {
    S* row = state + j * stride;
    const Floats decay(head.decay[j]);
    const Floats k(head.k[j]);
    S* at[kColumnPairs];
    FloatsPair next[kColumnPairs];
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnPairs; ++c) {
      at[c] = row + c * kPair;
      const FloatsPair old = load_pair<S>(at[c]);
      next[c] = {fma(u[c].one, k, old.one * decay), fma(u[c].two, k, old.two * decay)};
    }
    store_pairs<S>(at, next);
  }
}

// `count` values of a head's state in memory, and how far its outer elements lie apart: rows of K,
// dense, or rows of V, of which these are a part.
template <class S>
struct Slice {
  S* data;
  i64 stride;  // elements; layout KV
  int count;

  // One token of these values. `next`: a state of as many values that comes after this one, or
  // null; asking for its first rows now keeps the memory busy while its gate is computed.
  KILN_DEVICE void advance(const Head& head, const Io* v, Io* out, const State* next) const {
    for (int i = 0; i < count; i += kStep) {
      if constexpr (kVk) {
        update_rows(data + i * shape::K, head, v + i, out + i, rows_ahead(i, next));
      } else {
        update_columns(data + i, stride, head, v + i, out + i);
      }
    }
  }
  // What to ask for while rows i to i + kRows are updated: those kPrefetchRows further on, in the
  // next state from this one's end on. Scratch memory, and what nothing follows, are in the caches.
  KILN_DEVICE const State* rows_ahead(int i, const State* next) const {
    const State* here = reinterpret_cast<const State*>(data);
    if constexpr (!is_same<S, State>) return here;
    const int ahead = i + min(kPrefetchRows, count);
    if (ahead < count) return here + ahead * shape::K;
    return next != nullptr ? next + (ahead - count) * shape::K : here + i * shape::K;
  }
  // What the first step needs, while the gate is computed.
  KILN_DEVICE void prefetch_first() const {
    if constexpr (kVk) {
      prefetch_row(data, min(kPrefetchRows, count) * shape::K);
    } else {
      for (int j = 0; j < kPrefetchRows; ++j) prefetch_row(data + j * stride, kColumns);
    }
  }
  template <class From>
  KILN_DEVICE void copy_from(const Slice<From>& from) const {
    const int rows = kVk ? 1 : shape::K;
    const int length = kVk ? count * shape::K : count;
    for (int j = 0; j < rows; ++j) {
      for (int i = 0; i < length; i += kPair) {
        store_pair<S>(data + j * stride + i, load_pair<From>(from.data + j * from.stride + i));
      }
    }
  }
  KILN_DEVICE void clear() const {
    const int rows = kVk ? 1 : shape::K;
    const int length = kVk ? count * shape::K : count;
    for (int j = 0; j < rows; ++j) {
      for (int i = 0; i < length; i += vector_lanes) store(data + j * stride + i, Floats(0.0f));
    }
  }
};

// Values [first, first + count) of the matrix of head hv in a slot.
KILN_DEVICE Slice<State> slice_of(const KdaPool& pool, i64 slot, int hv, int first, int count) {
  State* matrix = static_cast<State*>(pool.data) + slot * pool.slot_stride + hv * pool.head_stride;
  return {matrix + first * (kVk ? shape::K : 1), shape::V, count};
}

KILN_DEVICE i64 slot_at(const void* slots, int slot_bytes, i64 i) {
  return slot_bytes == 8 ? static_cast<const i64*>(slots)[i] : static_cast<const i32*>(slots)[i];
}

// The tokens of sequence n.
KILN_DEVICE Sequence tokens_of(const KdaParams& p, i64 n) {
  if (p.cu_seqlens == nullptr) return {0, p.tokens};
  const Sequence all = sequence_at(HostStarts{p.cu_seqlens}, n, p.total);
  return {all.first, min(all.length, i64{p.tokens})};
}

KILN_DEVICE Io* out_of(const KdaParams& p, i64 n, i64 t, int hv) {
  return static_cast<Io*>(p.out.data) + offset_of(p.out, n, t, hv);
}

// Zeros to values [first, first + count) of the outputs of an inactive sequence.
KILN_DEVICE void clear_tokens(const KdaParams& p, i64 n, const Sequence& tokens, int hv, int first,
                              int count) {
  for (i64 t = tokens.first; t < tokens.first + tokens.length; ++t) {
    Io* out = out_of(p, n, t, hv);
    for (int i = first; i < first + count; ++i) out[i] = from_float<Io>(0.0f);
  }
}

// Takes values [first, ...) of a state through token t and writes their outputs.
template <class S>
KILN_DEVICE void advance_token(const KdaParams& p, i64 n, i64 t, int hv, int first,
                               const Slice<S>& state, const State* next = nullptr) {
  Head head;
  load_head(p, n, t, hv, head);
  state.advance(head, element_of<Io>(p.v, n, t, hv) + first, out_of(p, n, t, hv) + first, next);
}

}  // namespace kda_detail
}  // namespace kiln
