// SPDX-License-Identifier: Apache-2.0
// Matrices of 16 x 16 in the order in which a warp's matrix instructions take them: every lane
// finds its words of a tile side by side, so that a tile goes to global memory, to shared memory
// and into registers by whole vectors. High and low halves as in squares.h, whose Square and
// Operand these tiles are multiplied with; M[y, x] as there.
#pragma once

#include "kda_prefill/chunk.h"
#include "kda_prefill/squares.h"
#include "kiln/global.h"

namespace kiln {
namespace kda_prefill_detail {

using TileVector = Vec<u32, 4>;

KILN_DEVICE u32 packed_high(float one, float two) {
  return pack2<bf16>(HighLow(one).high, HighLow(two).high);
}
KILN_DEVICE u32 packed_low(float one, float two) {
  return pack2<bf16>(HighLow(one).low, HighLow(two).low);
}

// Where the elements of a Square's tokens go on in a warp that shares them with others: warps that
// each have a part of the keys have parts of every sum.
#if KILN_WARP_SIZE == 32

constexpr int kKeyParts = 2;

// Writes M, whose elements `at(y, x)` gives.
template <class At>
KILN_DEVICE void store_tile_words(const Global<u32>& to, At at) {
  TileVector high, low;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const int y = w / 2 * 8 + MmaB::column(w % 2), x = MmaB::row(w % 2);
    const float one = at(y, x), two = at(y, x + 1);
    high[w] = packed_high(one, two);
    low[w] = packed_low(one, two);
  }
  to.store_vector<4>(lane() * 4, high);
  to.store_vector<4>((warp_size + lane()) * 4, low);
}

KILN_DEVICE MmaB mma_b(u32 one, u32 two) {
  MmaB b;
  b.words[0] = matrix_word_of<Run::along_column>(one, MmaB::row(0), MmaB::column(0));
  b.words[1] = matrix_word_of<Run::along_column>(two, MmaB::row(1), MmaB::column(1));
  return b;
}

template <bool exact>
KILN_DEVICE void multiply_half(const Operand& operand, const MmaB& high, const MmaB& low,
                               MmaC& sum) {
  if constexpr (!exact) sum = mma_m16n8k16<bf16>(operand.low, high, sum);
  sum = mma_m16n8k16<bf16>(operand.high, low, sum);
  sum = mma_m16n8k16<bf16>(operand.high, high, sum);
}

// sum[v, y] += sum over x of operand[v, x] M[y, x]
KILN_DEVICE void multiply(const Operand& operand, const Shared<u32>& words, int at, Square& sum) {
  const TileVector high = words.load_vector<4>(at + lane() * 4);
  const TileVector low = words.load_vector<4>(at + (warp_size + lane()) * 4);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    multiply_half<false>(operand, mma_b(high[2 * half], high[2 * half + 1]),
                         mma_b(low[2 * half], low[2 * half + 1]), sum.halves[half]);
  }
}

// The columns of a Square that this part of the keys' warps finishes.
struct Share {
  static constexpr int kElements = 4;
  MmaC half = {};
  KILN_DEVICE float& at(int e) { return half.values[e]; }
  KILN_DEVICE static int v(int e) { return MmaC::row(e); }
  KILN_DEVICE static int x(int e, int part) { return part * 8 + MmaC::column(e); }
};

// With `exact`, the operand is its high half.
template <bool exact>
KILN_DEVICE void multiply(const Operand& operand, const Shared<u32>& words, int at, int part,
                          Share& sum) {
  const int own = at + lane() * 4 + part * 2;
  const Vec<u32, 2> high = words.load_vector<2>(own);
  const Vec<u32, 2> low = words.load_vector<2>(own + warp_size * 4);
  multiply_half<exact>(operand, mma_b(high[0], high[1]), mma_b(low[0], low[1]), sum.half);
}

// By choice among registers: an index that is no constant would put a Square on the stack.
KILN_DEVICE void add_share(Share& share, int part, Square& square) {
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) {
    square.at(e) += e / 4 == part ? share.at(e % 4) : 0.0f;
  }
}
KILN_DEVICE Share share_of(Square& square, int part) {
  Share share;
#pragma unroll
  for (int e = 0; e < Share::kElements; ++e) {
    share.at(e) = part == 0 ? square.at(e) : square.at(4 + e);
  }
  return share;
}

#else

constexpr int kKeyParts = 1;

template <class At>
KILN_DEVICE void store_tile_words(const Global<u32>& to, At at) {
  TileVector words;
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    const int y = MfmaA<16>::row(w), x = MfmaA<16>::column(w);
    const float one = at(y, x), two = at(y, x + 1);
    words[w] = packed_high(one, two);
    words[2 + w] = packed_low(one, two);
  }
  to.store_vector<4>(lane() * 4, words);
}

template <bool exact>
KILN_DEVICE void multiply_tile(const Operand& operand, const Shared<u32>& words, int at,
                               Square& sum) {
  const TileVector own = words.load_vector<4>(at + lane() * 4);
  MfmaA<16> high, low;
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    const int row = MfmaA<16>::row(w), column = MfmaA<16>::column(w);
    high.words[w] = matrix_word_of(own[w], row, column);
    low.words[w] = matrix_word_of(own[2 + w], row, column);
  }
  MfmaC<16>& to = sum.transposed;
  if constexpr (!exact) to = mfma_16x16x16(high, operand.low, to);
  to = mfma_16x16x16(low, operand.high, to);
  to = mfma_16x16x16(high, operand.high, to);
}

KILN_DEVICE void multiply(const Operand& operand, const Shared<u32>& words, int at, Square& sum) {
  multiply_tile<false>(operand, words, at, sum);
}

// One warp has all keys, and finishes the whole Square.
struct Share {
  static constexpr int kElements = Square::kElements;
  Square whole = {};
  KILN_DEVICE float& at(int e) { return whole.at(e); }
  KILN_DEVICE static int v(int e) { return Square::v(e); }
  KILN_DEVICE static int x(int e, int) { return Square::x(e); }
};

template <bool exact>
KILN_DEVICE void multiply(const Operand& operand, const Shared<u32>& words, int at, int,
                          Share& sum) {
  multiply_tile<exact>(operand, words, at, sum.whole);
}
KILN_DEVICE void add_share(Share& share, int, Square& square) {
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) square.at(e) += share.at(e);
}
KILN_DEVICE Share share_of(Square& square, int) {
  return {square};
}

#endif

}  // namespace kda_prefill_detail
}  // namespace kiln
