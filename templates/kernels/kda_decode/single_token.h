// SPDX-License-Identifier: Apache-2.0
// What the kernels of one token per sequence have in common: where the state and the activations of
// one head are, and one tile taken through the token. All accesses are aligned.
#pragma once

#include "kda/lanes.h"
#include "kda_decode/params.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"

namespace kiln {
namespace kda_decode_detail {

using namespace kda_detail;

// Blocks that shall fit on a multiprocessor. A lane of layout KV holds more keys at once.
constexpr int kBlocksMin = kVk ? 4 : kValues == 8 ? 2 : 3;

// The token of one sequence. With cu_seqlens it may have none: then nothing of it is read or
// written.
struct Entry {
  i64 token;
  i64 slot;
  bool present;
  KILN_DEVICE bool active(const KdaPool& pool) const {
    return present && slot >= 0 && slot < pool.slots;
  }
};

KILN_DEVICE Entry entry_of(const KdaDecodeParams& p, i64 n) {
  const Sequence tokens = tokens_of(p, n);
  return {tokens.first, slot_at(p.slots, p.slot_bytes, n * p.slots_stride), tokens.length > 0};
}

// Values [first, first + count) of an inactive head, by `threads` threads.
KILN_DEVICE void clear_values(const Global<Io>& out, int first, int count, int thread,
                              int threads) {
  for (int i = thread; i < count; i += threads) out.store(first + i, from_float<Io>(0.0f));
}

struct HeadMemory {
  Global<State> state;
  Global<const Io> v;
  Global<Io> out;
};

KILN_DEVICE HeadMemory memory_of(const KdaDecodeParams& p, i64 n, const Entry& entry, int hv) {
  return {matrix_of(p.state, entry.slot, hv), v_of(p, n, entry.token, hv),
          out_of(p, n, entry.token, hv)};
}

KILN_DEVICE void update_tile(const HeadMemory& memory, const Head& head, const Place& place,
                             int first, float v, const RawTile& raw) {
  Tile tile = unpack(raw);
  const float o = advance(head, place, v, tile);
  if (place.owns()) memory.out.store(first + place.own_value(), from_float<Io>(o));
  store_tile<Access::aligned>(memory.state, place, first, pack(tile));
}

}  // namespace kda_decode_detail
}  // namespace kiln
