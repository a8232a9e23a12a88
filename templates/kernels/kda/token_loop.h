// SPDX-License-Identifier: Apache-2.0
// A sequence's tokens one after another while a warp keeps its tiles in registers: no shared
// memory, no barrier. The next token's inputs are loading while a token is computed. Any alignment.
#pragma once

#include "kda/lanes.h"

namespace kiln {
namespace kda_detail {

constexpr int kTokenRows = kda_token_rows(kVk, shape::K, shape::V, sizeof(State));
constexpr int kTiles = max(kTokenRows / (kWarps * kTileRows), 1);  // of a warp

// Which rows of a head this warp keeps.
struct TilePlace : Place {
  int hv;
  int first;

  KILN_DEVICE TilePlace(int head, int slice)
      : hv(head), first(slice + warp() * kTiles * kTileRows) {}
  KILN_DEVICE int tile(int i) const { return first + i * kTileRows; }
  KILN_DEVICE bool has_rows(int slice) const { return first < slice + kTokenRows; }
};

struct Tiles {
  Tile tiles[kTiles];
};

KILN_DEVICE Tiles load_tiles(const Global<State>& matrix, const TilePlace& place) {
  Tiles state;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    state.tiles[i] = unpack(load_tile<Access::any>(matrix, place, place.tile(i)));
  }
  return state;
}

KILN_DEVICE void store_tiles(const Global<State>& matrix, const TilePlace& place, Tiles& state) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    store_tile<Access::any>(matrix, place, place.tile(i), pack(state.tiles[i]));
  }
}

// All that one token brings.
struct Inputs {
  Token token;
  Io v[kTiles];  // of this lane's own rows
};

KILN_DEVICE Inputs load_inputs(const KdaParams& p, const TilePlace& place, i64 n, i64 t) {
  Inputs inputs;
  inputs.token = load_token<Access::any>(p, place, n, t, place.hv);
  const Global<const Io> v = v_of(p, n, t, place.hv);
#pragma unroll
  for (int i = 0; i < kTiles; ++i) inputs.v[i] = v.load(place.tile(i) + place.own_value());
  return inputs;
}

// Takes the state through the tokens and writes their outputs. `after(t)`, t from 0 on, may look at
// the state after each of them.
template <class After>
KILN_DEVICE void run_tokens(const KdaParams& p, const GateWeights& weights, const TilePlace& place,
                            i64 n, const Sequence& tokens, Tiles& state, const After& after) {
  if (tokens.length == 0) return;
  Inputs inputs = load_inputs(p, place, n, tokens.first);
  for (i64 t = 0; t < tokens.length; ++t) {
    Inputs coming = inputs;
    if (t + 1 < tokens.length) coming = load_inputs(p, place, n, tokens.first + t + 1);
    const Head head = head_of(p, weights, inputs.token);
    const Global<Io> out = out_of(p, n, tokens.first + t, place.hv);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const float o = advance(head, place, to_float(inputs.v[i]), state.tiles[i]);
      if (place.owns()) out.store(place.tile(i) + place.own_value(), from_float<Io>(o));
    }
    after(t);
    inputs = coming;
  }
}

// Zeros to the outputs of an inactive sequence, by the threads of the block together.
KILN_DEVICE void clear_tokens(const KdaParams& p, i64 n, const Sequence& tokens, int hv,
                              int slice) {
  for (i64 t = 0; t < tokens.length; ++t) {
    const Global<Io> out = out_of(p, n, tokens.first + t, hv);
    for (int i = thread_rank(); i < kTokenRows; i += kKdaThreads) {
      out.store(slice + i, from_float<Io>(0.0f));
    }
  }
}

}  // namespace kda_detail
}  // namespace kiln
