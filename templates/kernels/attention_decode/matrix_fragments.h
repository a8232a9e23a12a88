// SPDX-License-Identifier: Apache-2.0
// What the kernel on matrix instructions multiplies, and how its work is cut: the operands' types
// and places in the lanes, sizes of tiles and parts, and the registers that these take.
#pragma once

#include "attention_decode/gpu_job.h"
#include "attention_decode/matrix_rows.h"
#include "kiln/mma.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_decode_detail {

constexpr bool kIsFp8 = sizeof(Kv) == 1;
static_assert(sizeof(Io) == 2 && (kIsFp8 || is_same<Io, Kv>), "refused by can_build");
// What is multiplied. f16 holds every fp8.
template <bool is_fp8>
struct OperandOf {
  using type = Io;
};
template <>
struct OperandOf<true> {
  using type = f16;
};
using Operand = OperandOf<kIsFp8>::type;
// A query is brought into the range of f16 where it is multiplied as such.
constexpr bool kScaleQueries = is_same<Io, bf16> && is_same<Operand, f16>;

// A: 16 rows by a depth of 16. B: the depth by kColumns. C: the rows by kColumns, that is heads.
#if KILN_WARP_SIZE == 32
using A = MmaA;
using B = MmaB;
using C = MmaC;
constexpr int kColumns = 8;
constexpr int kWordsOfA = 4;
constexpr int kRowLanes = 8;    // lanes that have rows of their own of A
constexpr int kRowsOfLane = 2;  // of A
constexpr int kOwnHeads = 2;    // of C that a lane has
KILN_DEVICE int row_lane() {
  return lane() / 4;
}
KILN_DEVICE int depth_lane() {
  return lane() % 4;
}
KILN_DEVICE constexpr int own_head(int value) {
  return value % 2;
}
// From the lanes that hold the same columns of C.
template <class Join>
KILN_DEVICE float over_rows(float value, Join join) {
  value = join(value, shuffle_xor(value, 4));
  value = join(value, shuffle_xor(value, 8));
  return join(value, shuffle_xor(value, 16));
}
#else
using A = MfmaA<16>;
using B = MfmaB<16>;
using C = MfmaC<16>;
constexpr int kColumns = 16;
constexpr int kWordsOfA = 2;
constexpr int kRowLanes = 16;
constexpr int kRowsOfLane = 1;
constexpr int kOwnHeads = 1;
KILN_DEVICE int row_lane() {
  return lane() % 16;
}
KILN_DEVICE int depth_lane() {
  return lane() / 16;
}
KILN_DEVICE constexpr int own_head(int) {
  return 0;
}
template <class Join>
KILN_DEVICE float over_rows(float value, Join join) {
  value = join(value, shuffle_xor(value, 16));
  return join(value, shuffle_xor(value, 32));
}
#endif
constexpr int kDepthLanes = 4;
constexpr int kValuesOfC = 4;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kTile = 16;                        // tokens
constexpr int kTilesOfStep = warp_size / kTile;  // each lane looks up one token of a step
constexpr int kRows = attention_decode_matrix_rows(kGroupHeads, shape::D_qk, shape::D_vo);
constexpr int kHeadTiles = ceil_div(kRows, kColumns);
constexpr int kHeads = kHeadTiles * kColumns;

constexpr int kPart = 16 / int{sizeof(Kv)};  // elements of a load
constexpr int kWordsOfPart = 4;
// A part has elements of kPart / 4 depths of 16, one after another, 4 elements of each.
constexpr int kKeyParts = ceil_div(shape::D_qk, kDepthLanes* kPart);
constexpr int kDepthSteps = kKeyParts * kPart / 4;
// Columns of a part of all lanes, and A's with these for rows.
constexpr int kPartColumns = kRowLanes * kPart;
constexpr int kValueParts = ceil_div(shape::D_vo, kPartColumns);
constexpr int kTilesOfPart = kPart / kRowsOfLane;
constexpr int kColumnTiles = kValueParts * kTilesOfPart;
constexpr int kTokensOfLane = 4;  // whose values a lane takes

// Blocks of a multiprocessor: what the registers of queries, sums, a tile of keys and one of values
// leave room for.
constexpr int kRegisters = kHeadTiles * (2 * kDepthSteps + 4 * kColumnTiles) +
                           4 * (kRowsOfLane * kKeyParts + kTokensOfLane * kValueParts);
constexpr int kBlocks = kRegisters <= 72 ? 4 : kRegisters <= 112 ? 3 : 2;
// Where registers do not hold all of that, queries lie in shared memory.
constexpr bool kSharedQueries = kRegisters > 200;

KILN_DEVICE C multiply_add(const A& a, const B& b, const C& c) {
#if KILN_WARP_SIZE == 32
  return mma_m16n8k16<Operand>(a, b, c);
#else
  return mfma_16x16x16(a, b, c);
#endif
}

}  // namespace attention_decode_detail
}  // namespace kiln
