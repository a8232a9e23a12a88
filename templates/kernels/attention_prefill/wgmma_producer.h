// SPDX-License-Identifier: Apache-2.0
// The producer of the wgmma kernel: a warpgroup that brings queries, and keys and values tile by
// tile, into shared memory.
#pragma once

#include "attention_prefill/wgmma_block.h"
#include "kiln/thread.h"

namespace kiln {
namespace attention_prefill_detail {

// The producer: 16 bytes of a thread in each panel, in every 16th row.
template <int tile_rows, int size, class PlaceOf>
KILN_DEVICE void copy_tile(const SwizzledTile<tile_rows>& to, const void* data, int rows,
                           PlaceOf place) {
  const int chunk = thread_rank() % 8;
  const int own = thread_rank() / 8;
  const u32 first = to.chunk(0, own, chunk);
  const Io* const from = static_cast<const Io*>(data) + chunk * 8;
#pragma unroll 4
  for (int pass = 0; pass < tile_rows / 16; ++pass) {
    const int row = pass * 16 + own;
    const i64 offset = row < rows ? place(row) : -1;
    const Io* const address = from + (offset < 0 ? 0 : offset);
#pragma unroll
    for (int panel = 0; panel < size / 64; ++panel) {
      dialect::async_copy_to<16>(
          first + static_cast<u32>(panel) * SwizzledTile<tile_rows>::kPanelBytes +
              static_cast<u32>(pass) * (16 * 128),
          address + (offset < 0 ? 0 : panel * 64), offset >= 0);
    }
  }
}

template <int size>
KILN_DEVICE void copy_keys(const Params& p, const Work& work, const SwizzledTile<kKeys>& to,
                           const Params::Heads& tensor, int tile) {
  const int first = work.first_key(tile);
  copy_tile<kKeys, size>(to, tensor.data, work.keys.end - first, [&](int i) {
    const KeyPlace at = find_key<DeviceMemory>(p, work.job, first + i);
    return at.block < 0 ? i64{-1} : offset_of(tensor, at, work.head / kGroup);
  });
}

// The order in which the consumers want them: the next keys before the values of these.
KILN_DEVICE void produce(const Params& p, const Work& work, const Memory& memory) {
  copy_tile<kRows, shape::D_qk>(
      memory.q(), p.q.data, work.job.queries - work.first_row,
      [&](int i) { return row_offset(p.q, work.job, work.first_row + i, work.head); });
  memory.q_full().arrive_after_copies();
  Turn k;
  Turn v;
  for (int tile = 0; tile <= work.tiles; ++tile) {
    if (tile < work.tiles) {
      if (tile >= kStages) memory.k_empty(k.stage).wait(k.phase ^ 1);
      copy_keys<shape::D_qk>(p, work, memory.k(k.stage), p.k, tile);
      memory.k_full(k.stage).arrive_after_copies();
      k.next();
    }
    if (tile > 0) {
      if (tile > kStages) memory.v_empty(v.stage).wait(v.phase ^ 1);
      copy_keys<shape::D_vo>(p, work, memory.v(v.stage), p.v, tile - 1);
      memory.v_full(v.stage).arrive_after_copies();
      v.next();
    }
  }
  dialect::async_wait<0>();
}

}  // namespace attention_prefill_detail
}  // namespace kiln
