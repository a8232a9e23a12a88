// SPDX-License-Identifier: Apache-2.0
// What a block of the wgmma kernel works on, and where its tiles and barriers lie in shared memory.
#pragma once

#include "kiln/base.h"  // whose KILN_DEVICE marks the functions of tiles.h

#include "attention_prefill/geometry.h"
#include "attention_prefill/tiles.h"
#include "kiln/convert.h"
#include "kiln/global.h"
#include "kiln/mbarrier.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/warpgroup.h"

namespace kiln {
namespace attention_prefill_detail {

template <class T>
using DeviceMemory = Global<const T>;

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

constexpr int kWarpgroup = 128;  // threads
constexpr int kConsumers = 2;    // warpgroups
constexpr int kRows = kAttentionPrefillWgmmaRows;
static_assert(kRows == 64 * kConsumers, "a warpgroup's product has 64 rows");
constexpr int kKeys = attention_prefill_wgmma_keys(shape::D_qk, shape::D_vo);
constexpr int kStages = 2;
static_assert(shape::D_qk % 64 == 0 && shape::D_vo % 64 == 0, "tiles are panels of 64 columns");
constexpr int kSteps = shape::D_qk / 16;
constexpr int kKeyTiles = kKeys / 8;
// A product with the values has 128 or 64 columns.
constexpr int kPartTiles = shape::D_vo % 128 == 0 ? 16 : 8;
constexpr int kParts = shape::D_vo / (8 * kPartTiles);

constexpr u32 kQBytes = 2 * kRows * shape::D_qk;
constexpr u32 kKBytes = 2 * kKeys * shape::D_qk;
constexpr u32 kVBytes = 2 * kKeys * shape::D_vo;
constexpr u32 kBarrierBytes = 8 * (1 + 4 * kStages);
static_assert(1024 + kQBytes + kStages * (kKBytes + kVBytes) + kBarrierBytes <=
                  kAttentionPrefillWgmmaSharedBytes,
              "the launch asks for as much");

// Where everything lies in shared memory, from a multiple of 1,024 bytes on.
struct Memory {
  u32 base;
  KILN_DEVICE SwizzledTile<kRows> q() const { return {base}; }
  KILN_DEVICE SwizzledTile<kKeys> k(u32 stage) const { return {base + kQBytes + stage * kKBytes}; }
  KILN_DEVICE SwizzledTile<kKeys> v(u32 stage) const {
    return {base + kQBytes + kStages * kKBytes + stage * kVBytes};
  }
  KILN_DEVICE Mbarrier q_full() const { return barrier(0); }
  KILN_DEVICE Mbarrier k_full(u32 stage) const { return barrier(1 + stage); }
  KILN_DEVICE Mbarrier k_empty(u32 stage) const { return barrier(1 + kStages + stage); }
  KILN_DEVICE Mbarrier v_full(u32 stage) const { return barrier(1 + 2 * kStages + stage); }
  KILN_DEVICE Mbarrier v_empty(u32 stage) const { return barrier(1 + 3 * kStages + stage); }

  KILN_DEVICE void init_barriers() const {
    q_full().init(kWarpgroup);
#pragma unroll
    for (u32 stage = 0; stage < kStages; ++stage) {
      k_full(stage).init(kWarpgroup);
      v_full(stage).init(kWarpgroup);
      k_empty(stage).init(kConsumers * 4);  // a lane of each warp
      v_empty(stage).init(kConsumers * 4);
    }
  }

 private:
  KILN_DEVICE Mbarrier barrier(u32 i) const {
    return {base + kQBytes + kStages * (kKBytes + kVBytes) + 8 * i};
  }
};

// Uses of a ring of stages, in turn.
struct Turn {
  u32 stage = 0;
  u32 phase = 0;
  KILN_DEVICE void next() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

KILN_DEVICE float minus_infinity() {
  return bit_cast<float>(0xff800000u);
}

// What a block works on.
struct Work {
  Job job;
  int first_row;
  int head;
  KeyRange keys;  // that any of its rows may see
  int tiles;      // of keys
  // From the last tile to the first.
  KILN_DEVICE int first_key(int tile) const { return keys.first + (tiles - 1 - tile) * kKeys; }
};

}  // namespace attention_prefill_detail
}  // namespace kiln
