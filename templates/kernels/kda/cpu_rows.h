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

constexpr int kVectors = shape::K / vector_lanes;  // of a row of K
constexpr int kRows = 4;                           // values of a step, layout VK
// Layout KV: as many vectors of values as leave registers for the rest.
constexpr int kColumnVectors = min(64 / vector_lanes, 8);
constexpr int kColumns = kColumnVectors * vector_lanes;
constexpr int kStep = kVk ? kRows : kColumns;

// How far ahead the state is asked for: the caches' own prefetchers stop at each 4 KiB page.
constexpr int kPrefetchRows = kVk ? 32 / int{sizeof(State)} : 32;
constexpr int kLineBytes = 64;

KILN_DEVICE void prefetch_row(const State* row, int count) {
  for (int i = 0; i < count; i += kLineBytes / int{sizeof(State)}) prefetch_for_write(row + i);
}

// What all values of a head share; keys in order.
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
  for (int c = 0; c < shape::K; c += vector_lanes) store(row + c, load(from + c) * Floats(factor));
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
    for (int c = 0; c < shape::K; c += vector_lanes) {
      Floats x = load(a + c);
      if (biased) x += load(p.dt_bias + hv * shape::K + c);
      store(decay + c, decay_of(p, rate, x));
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

// Rows `state` to state + kRows of layout VK: updates them and gives their outputs.
template <class S>
KILN_DEVICE void update_rows(S* state, const Head& head, const Io* v, Io* out) {
  Floats along_k[kRows] = {};
  Floats along_q[kRows] = {};
#pragma clang loop unroll_count(8)
  for (int c = 0; c < shape::K; c += vector_lanes) {
    const Floats decay_k = load(head.decay_k + c);
    const Floats decay_q = load(head.decay_q + c);
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      const Floats row = load(state + r * shape::K + c);
      along_k[r] = fma(row, decay_k, along_k[r]);
      along_q[r] = fma(row, decay_q, along_q[r]);
    }
  }
  const Floats4 sum_k = horizontal_sums(along_k[0], along_k[1], along_k[2], along_k[3]);
  const Floats4 sum_q = horizontal_sums(along_q[0], along_q[1], along_q[2], along_q[3]);
  const Floats4 value = {to_float(v[0]), to_float(v[1]), to_float(v[2]), to_float(v[3])};
  const Floats4 u = head.beta * (value - sum_k);
  const Floats4 o = sum_q + u * head.kq;
  // Not unrolled: the compiler would keep what the first sweep loaded, most of it on the stack.
#pragma clang loop unroll(disable)
  for (int c = 0; c < shape::K; c += vector_lanes) {
    const Floats decay = load(head.decay + c);
    const Floats k = load(head.k + c);
    S* at[kRows];
    Floats next[kRows];
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      at[r] = state + r * shape::K + c;
      next[r] = fma(Floats(u[r]), k, load(at[r]) * decay);
    }
    store_all(at, next);
  }
  for (int r = 0; r < kRows; ++r) out[r] = from_float<Io>(o[r]);
}

// The same for kColumns columns of layout KV, whose rows are `stride` apart.
template <class S>
KILN_DEVICE void update_columns(S* state, i64 stride, const Head& head, const Io* v, Io* out) {
  Floats along_k[kColumnVectors] = {};
  Floats along_q[kColumnVectors] = {};
  for (int j = 0; j < shape::K; ++j) {
    const S* row = state + j * stride;
    const Floats decay_k(head.decay_k[j]);
    const Floats decay_q(head.decay_q[j]);
    if (is_same<S, State> && j + kPrefetchRows < shape::K) {
      prefetch_row(reinterpret_cast<const State*>(row + kPrefetchRows * stride), kColumns);
    }
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      const Floats at = load(row + c * vector_lanes);
      along_k[c] = fma(at, decay_k, along_k[c]);
      along_q[c] = fma(at, decay_q, along_q[c]);
    }
  }
  Floats u[kColumnVectors];
  for (int c = 0; c < kColumnVectors; ++c) {
    u[c] = Floats(head.beta) * (load(v + c * vector_lanes) - along_k[c]);
    store(out + c * vector_lanes, along_q[c] + u[c] * Floats(head.kq));
  }
  for (int j = 0; j < shape::K; ++j) {
    S* row = state + j * stride;
    const Floats decay(head.decay[j]);
    const Floats k(head.k[j]);
    S* at[kColumnVectors];
    Floats next[kColumnVectors];
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      at[c] = row + c * vector_lanes;
      next[c] = fma(u[c], k, load(at[c]) * decay);
    }
    store_all(at, next);
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
  // null; asking for it now keeps the memory busy while its gate is computed.
  KILN_DEVICE void advance(const Head& head, const Io* v, Io* out, const State* next) const {
    for (int i = 0; i < count; i += kStep) {
      if constexpr (kVk) {
        if (next != nullptr) {
          prefetch_row(next + i * shape::K, kRows * shape::K);
        } else if (is_same<S, State> && i + kPrefetchRows < count) {
          prefetch_row(reinterpret_cast<const State*>(data) + (i + kPrefetchRows) * shape::K,
                       kRows * shape::K);
        }
        update_rows(data + i * shape::K, head, v + i, out + i);
      } else {
        update_columns(data + i, stride, head, v + i, out + i);
      }
    }
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
      for (int i = 0; i < length; i += vector_lanes) {
        store(data + j * stride + i, load(from.data + j * from.stride + i));
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
