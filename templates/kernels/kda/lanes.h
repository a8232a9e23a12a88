// SPDX-License-Identifier: Apache-2.0
// State tiles of Kimi Delta Attention in the registers of a warp (see kda/tile.h), for both
// layouts.
//
// With S the state, d the gate, u = beta (v - S d k), a token needs both dot products of the
// decayed row, with k and with q, at once: o = (S d) q + u (k q). Hence one sweep per token.
#pragma once

#include "kda/gate.h"
#include "kda/tile.h"
#include "kiln/convert.h"
#include "kiln/global.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
#include "varlen/sequences.h"

namespace kiln {
namespace kda_detail {

constexpr KdaTile kTile = kda_tile(kVk, shape::K, sizeof(State), warp_size);
constexpr int kKeys = kTile.keys;
constexpr int kValues = kTile.values;
constexpr int kGroup = kTile.group;
constexpr int kGroups = warp_size / kGroup;
constexpr int kTileRows = kTile.rows;
constexpr int kVector = 16 / int{sizeof(State)};        // elements of one access
constexpr int kVectors = kKeys * kValues / kVector;     // of a lane's tile
constexpr int kRowVectors = kVk ? kKeys / kVector : 1;  // of them, in one row of K
constexpr int kQuads = kKeys / 4;
constexpr int kWarps = kKdaThreads / warp_size;
static_assert(kGroup <= warp_size && kGroup >= kValues && shape::V % kTileRows == 0,
              "refused by can_build");

// Whether every access is known to be aligned to its size, by can_serve, or looked at.
enum class Access { aligned, any };

// Which keys and values of a tile are this lane's.
struct Place {
  int group = lane() / kGroup;
  int member = lane() % kGroup;

  KILN_DEVICE int key(int j) const {
    if (!kVk) return member * kKeys + j;
    return j / kVector * (kGroup * kVector) + member * kVector + j % kVector;
  }
  KILN_DEVICE int value(int m) const { return kVk ? m * kGroups + group : group * kValues + m; }
  // The value whose u and o this lane computes; the members from kValues on do so in vain.
  KILN_DEVICE int own_value() const { return value(member % kValues); }
  KILN_DEVICE bool owns() const { return member < kValues; }
  // This lane's first vector of the tile whose values begin at `first`, as an offset into the
  // matrix; vector i is tile_step(i) further on, which the compiler puts into the access itself.
  KILN_DEVICE int tile(int first) const {
    return kVk ? (first + group) * shape::K + member * kVector
               : member * kKeys * shape::V + first + group * kValues;
  }
};

KILN_DEVICE constexpr int tile_step(int i) {
  return kVk ? i / kRowVectors * kGroups * shape::K + i % kRowVectors * kGroup * kVector
             : i * shape::V;
}

// A lane's part of a tile, as it lies in memory, and in float.
using StateVector = Vec<State, kVector>;
struct RawTile {
  StateVector vectors[kVectors];
};
struct Tile {
  float at[kValues][kKeys];
  KILN_DEVICE float& element(int vector, int i) {
    if (!kVk) return at[i][vector];
    return at[vector / kRowVectors][vector % kRowVectors * kVector + i];
  }
};

KILN_DEVICE Tile unpack(const RawTile& raw) {
  Tile tile;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
#pragma unroll
    for (int e = 0; e < kVector; ++e) tile.element(i, e) = to_float(raw.vectors[i][e]);
  }
  return tile;
}

KILN_DEVICE RawTile pack(Tile& tile) {
  RawTile raw;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if constexpr (sizeof(State) == 2) {
      Vec<u32, kVector / 2> words;
#pragma unroll
      for (int e = 0; e < kVector; e += 2) {
        words[e / 2] = pack2<State>(tile.element(i, e), tile.element(i, e + 1));
      }
      raw.vectors[i] = bit_cast<StateVector>(words);
    } else {
#pragma unroll
      for (int e = 0; e < kVector; ++e) raw.vectors[i][e] = from_float<State>(tile.element(i, e));
    }
  }
  return raw;
}

// Whether vector accesses to a matrix are aligned; all of them are alike.
template <Access access>
KILN_DEVICE bool moves_vectors(const Global<State>& matrix) {
  return access == Access::aligned || matrix.aligned(0, 16);
}

template <Access access>
KILN_DEVICE RawTile load_tile(const Global<State>& matrix, const Place& place, int first) {
  const Global<State> from = matrix.from(place.tile(first));
  RawTile raw;
  if (moves_vectors<access>(matrix)) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      raw.vectors[i] = from.template load_vector<kVector, Cache::streaming>(tile_step(i));
    }
  } else {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) raw.vectors[i][e] = from.load(tile_step(i) + e);
    }
  }
  return raw;
}

template <Access access>
KILN_DEVICE void store_tile(const Global<State>& matrix, const Place& place, int first,
                            const RawTile& raw) {
  const Global<State> to = matrix.from(place.tile(first));
  if (moves_vectors<access>(matrix)) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      to.template store_vector<kVector, Cache::streaming>(tile_step(i), raw.vectors[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) to.store(tile_step(i) + e, raw.vectors[i][e]);
    }
  }
}

template <Access access, class T>
KILN_DEVICE Vec<T, 4> load_quad(const Global<const T>& row, i64 offset) {
  if constexpr (access == Access::any) {  // a view into a packed buffer may begin anywhere
    if (!row.aligned(offset, sizeof(T) * 4)) {
      return {{row.load(offset), row.load(offset + 1), row.load(offset + 2), row.load(offset + 3)}};
    }
  }
  return row.template load_vector<4, Cache::readonly>(offset);
}

// The gate's inputs that no kernel writes: read before the dependency wait.
struct GateWeights {
  float a_log = 0.0f;
  Vec<float, 4> bias[kQuads] = {};
};

template <Access access>
KILN_DEVICE GateWeights load_gate_weights(const KdaParams& p, const Place& place, int hv) {
  GateWeights weights;
  if constexpr (kGateHasWeights) {
    if (p.a_log != nullptr) weights.a_log = Global<const float>(p.a_log).load(hv);
    if (p.dt_bias != nullptr) {
      const Global<const float> bias(p.dt_bias);
      if constexpr (kScalarGate) {
        weights.bias[0][0] = bias.load(hv);
      } else {
#pragma unroll
        for (int c = 0; c < kQuads; ++c) {
          weights.bias[c] = load_quad<access>(bias, hv * shape::K + place.key(4 * c));
        }
      }
    }
  }
  return weights;
}

// What one token hands to one head, as it lies in memory: this lane's keys of it.
struct Token {
  Vec<Io, 4> q[kQuads];
  Vec<Io, 4> k[kQuads];
  Vec<GateIo, 4> a[kQuads];
  GateIo b;
};

// Without `gate`, `a` is left as it is: the block shares the decay (kda/block_decay.h).
template <Access access, bool gate = true>
KILN_DEVICE Token load_token(const KdaParams& p, const Place& place, i64 n, i64 t, int hv) {
  const int h = hv / (shape::HV / shape::H);
  const Global<const Io> q(static_cast<const Io*>(p.q.data));
  const Global<const Io> k(static_cast<const Io*>(p.k.data));
  const Global<const GateIo> a(static_cast<const GateIo*>(p.a.data));
  const Global<const GateIo> b(static_cast<const GateIo*>(p.b.data));
  const i64 q_at = offset_of(p.q, n, t, h);
  const i64 k_at = offset_of(p.k, n, t, h);
  const i64 a_at = offset_of(p.a, n, t, hv);
  Token token;
  if constexpr (kScalarGate && gate) token.a[0][0] = a.load(a_at);
#pragma unroll
  for (int c = 0; c < kQuads; ++c) {
    const int key = place.key(4 * c);
    token.q[c] = load_quad<access>(q, q_at + key);
    token.k[c] = load_quad<access>(k, k_at + key);
    if constexpr (!kScalarGate && gate) token.a[c] = load_quad<access>(a, a_at + key);
  }
  token.b = b.load(offset_of(p.b, n, t, hv));
  return token;
}

// Two sums on their way through the same shuffles.
struct Pair {
  float one, two;
  KILN_DEVICE Pair operator+(const Pair& other) const { return {one + other.one, two + other.two}; }
  KILN_DEVICE void operator+=(const Pair& other) { *this = *this + other; }
};

// What all values of a head share: this lane's keys of it, and two numbers per head.
struct Head {
  float decay[kKeys];  // e^g
  float k[kKeys];      // normalised
  float q[kKeys];      // normalised and scaled
  float kq;            // k . q
  float beta;
};

KILN_DEVICE void set_decay(const KdaParams& p, const GateWeights& weights, const Token& token,
                           Head& head) {
  const float rate = kGateHasWeights ? rate_of(weights.a_log) : 0.0f;
  const float whole =
      kScalarGate ? decay_of(p, rate, to_float(token.a[0][0]) + weights.bias[0][0]) : 0.0f;
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    if constexpr (kScalarGate) {
      head.decay[j] = whole;
    } else {
      const float bias = kGateHasWeights ? weights.bias[j / 4][j % 4] : 0.0f;
      head.decay[j] = decay_of(p, rate, to_float(token.a[j / 4][j % 4]) + bias);
    }
  }
}

// All of the head but its decay.
KILN_DEVICE Head normalised(const KdaParams& p, const Token& token) {
  Head head;
  Pair squares{0.0f, 0.0f};
  float kq = 0.0f;
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    head.q[j] = to_float(token.q[j / 4][j % 4]);
    head.k[j] = to_float(token.k[j / 4][j % 4]);
    squares.one = fma(head.q[j], head.q[j], squares.one);
    squares.two = fma(head.k[j], head.k[j], squares.two);
    kq = fma(head.k[j], head.q[j], kq);
  }
  kq = group_sum<kGroup>(kq);
  float q_factor = p.scale;
  float k_factor = 1.0f;
  if constexpr (shape::qk_l2norm) {
    squares = group_sum<kGroup>(squares);
    q_factor *= rsqrt(squares.one + p.l2norm_eps);
    k_factor = rsqrt(squares.two + p.l2norm_eps);
  }
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    head.q[j] *= q_factor;
    head.k[j] *= k_factor;
  }
  head.kq = kq * q_factor * k_factor;
  head.beta = beta_of(to_float(token.b));
  return head;
}

KILN_DEVICE Head head_of(const KdaParams& p, const GateWeights& weights, const Token& token) {
  Head head = normalised(p, token);
  set_decay(p, weights, token, head);
  return head;
}

// Takes the tile over one token. `v` and what it returns, o, are those of the lane's own value.
KILN_DEVICE float advance(const Head& head, const Place& place, float v, Tile& tile) {
  Pair along[kValues];  // k and q
#pragma unroll
  for (int m = 0; m < kValues; ++m) {
    along[m] = {0.0f, 0.0f};
#pragma unroll
    for (int j = 0; j < kKeys; ++j) {
      tile.at[m][j] *= head.decay[j];
      along[m].one = fma(tile.at[m][j], head.k[j], along[m].one);
      along[m].two = fma(tile.at[m][j], head.q[j], along[m].two);
    }
  }
  const Pair own = group_sum_scattered<kGroup>(along, place.member);
  const float own_u = head.beta * (v - own.one);
#pragma unroll
  for (int m = 0; m < kValues; ++m) {
    const float u = shuffle(own_u, m, kGroup);
#pragma unroll
    for (int j = 0; j < kKeys; ++j) tile.at[m][j] = fma(u, head.k[j], tile.at[m][j]);
  }
  return fma(own_u, head.kq, own.two);
}

KILN_DEVICE i64 slot_at(const void* slots, int slot_bytes, i64 i) {
  if (slot_bytes == 8) return Global<const i64>(static_cast<const i64*>(slots)).load(i);
  return Global<const i32>(static_cast<const i32*>(slots)).load(i);
}

// The tokens of sequence n.
KILN_DEVICE Sequence tokens_of(const KdaParams& p, i64 n) {
  if (p.cu_seqlens == nullptr) return {0, p.tokens};
  const Sequence all = sequence_at(Global<const i32>(p.cu_seqlens), n, p.total);
  return {all.first, min(all.length, i64{p.tokens})};
}

KILN_DEVICE Global<State> matrix_of(const KdaPool& pool, i64 slot, int hv) {
  return Global<State>(static_cast<State*>(pool.data) + slot * pool.slot_stride +
                       hv * pool.head_stride);
}

KILN_DEVICE Global<const Io> v_of(const KdaParams& p, i64 n, i64 t, int hv) {
  return Global<const Io>(static_cast<const Io*>(p.v.data) + offset_of(p.v, n, t, hv));
}

KILN_DEVICE Global<Io> out_of(const KdaParams& p, i64 n, i64 t, int hv) {
  return Global<Io>(static_cast<Io*>(p.out.data) + offset_of(p.out, n, t, hv));
}

}  // namespace kda_detail
}  // namespace kiln
