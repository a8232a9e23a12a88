// SPDX-License-Identifier: Apache-2.0
// Keys and values from the paged cache into the lanes that multiply them, and from there into
// operands.
#pragma once

#include "attention_decode/matrix_fragments.h"
#include "kiln/permute.h"

namespace kiln {
namespace attention_decode_detail {

using Part = Vec<u32, kWordsOfPart>;

// The tokens of a split that a warp works on, in steps of warp_size: of each, every lane knows
// where one token's key and value begin.
struct Cursor {
  int token;  // of the next step
  int slot;
  i64 page;  // under way
  i64 key_row;
  i64 value_row;
};

// Tokens behind the end are the last one once more.
KILN_DEVICE void look_up(const AttentionDecodeParams& p, const Job& job,
                         const Global<const i32>& pages, Cursor& cursor) {
  const u32 token = static_cast<u32>(min(cursor.token, job.tokens.end - 1));
  const u32 number = token / static_cast<u32>(p.page_size);
  cursor.slot = static_cast<int>(token - number * static_cast<u32>(p.page_size));
  cursor.page = pages.load(number);
  cursor.token += kWarps * warp_size;
}
KILN_DEVICE void next_step(const AttentionDecodeParams& p, const Job& job,
                           const Global<const i32>& pages, Cursor& cursor) {
  const auto row = [&](const AttentionDecodeParams::Pages& cache) {
    return cursor.page * cache.page_stride + cursor.slot * cache.token_stride +
           job.kv_head * cache.head_stride;
  };
  cursor.key_row = row(p.k);
  cursor.value_row = row(p.v);
  look_up(p, job, pages, cursor);
}
// A warp has tile warp(), warp() + kWarps...; a step's lanes look up tile by tile of its own.
KILN_DEVICE Cursor begin_cursor(const AttentionDecodeParams& p, const Job& job,
                                const Global<const i32>& pages) {
  const int token = (lane() / kTile * kWarps + warp()) * kTile + lane() % kTile;
  Cursor cursor = {job.tokens.begin + token, 0, 0, 0, 0};
  look_up(p, job, pages, cursor);
  next_step(p, job, pages, cursor);
  return cursor;
}
KILN_DEVICE i64 row_of_token(i64 row, int tile, int token) {
  return shuffle(row, tile % kTilesOfStep * kTile + token);
}

struct Keys {
  Part parts[kRowsOfLane][kKeyParts];
};
struct Values {
  Part parts[kTokensOfLane][kValueParts];
};

// Parts of a row of `size` elements, `span` apart, the first one at `column`; zeros behind the row.
template <int size, int span, int parts>
KILN_DEVICE void load_parts(const Global<const Kv>& cache, i64 row, int column, Part (&to)[parts]) {
  const Global<const Kv> from = cache.from(row + column);
#pragma unroll
  for (int i = 0; i < parts; ++i) {
    const bool beyond = size % span != 0 && i * span + column >= size;
    to[i] = beyond ? Part{} : bit_cast<Part>(from.load_vector<kPart>(i * span));
  }
}

KILN_DEVICE void load_keys(const AttentionDecodeParams& p, const Cursor& cursor, int tile,
                           Keys& keys) {
  const Global<const Kv> cache(static_cast<const Kv*>(p.k.data));
#pragma unroll
  for (int r = 0; r < kRowsOfLane; ++r) {
    load_parts<shape::D_qk, kDepthLanes * kPart>(
        cache, row_of_token(cursor.key_row, tile, A::row(r)), depth_lane() * kPart, keys.parts[r]);
  }
}

// Token t of a lane is the depth of B that its element t is at.
KILN_DEVICE int token_of_lane(int t) {
  return B::row(t / 2) + t % 2;
}
KILN_DEVICE void load_values(const AttentionDecodeParams& p, const Cursor& cursor, int tile,
                             Values& values) {
  const Global<const Kv> cache(static_cast<const Kv*>(p.v.data));
#pragma unroll
  for (int t = 0; t < kTokensOfLane; ++t) {
    load_parts<shape::D_vo, kPartColumns>(cache,
                                          row_of_token(cursor.value_row, tile, token_of_lane(t)),
                                          row_lane() * kPart, values.parts[t]);
  }
}

// Elements 2 i and 2 i + 1 of a part.
KILN_DEVICE u32 two_of_part(const Part& part, int i) {
  if constexpr (kIsFp8) {
    return unpack2_f16<Kv>(part[i / 2] >> i % 2 * 16);
  } else {
    return part[i];
  }
}
// Element i of two parts.
KILN_DEVICE u32 one_of_each(const Part& a, const Part& b, int i) {
  if constexpr (kIsFp8) {
    const u32 low = a[i / 4];
    const u32 high = b[i / 4];
    const u32 four =
        i % 4 < 2 ? permute_bytes<0x5140>(low, high) : permute_bytes<0x7362>(low, high);
    return unpack2_f16<Kv>(four >> i % 2 * 16);
  } else {
    const u32 low = a[i / 2];
    const u32 high = b[i / 2];
    return i % 2 == 0 ? permute_bytes<0x5410>(low, high) : permute_bytes<0x7632>(low, high);
  }
}

// Word w of A for a depth step: row w % kRowsOfLane of the lane, elements from its 4.
KILN_DEVICE A keys_of(const Keys& keys, int step) {
  A a;
#pragma unroll
  for (int w = 0; w < kWordsOfA; ++w) {
    const Part& part = keys.parts[w % kRowsOfLane][step * 4 / kPart];
    const int element = step * 4 % kPart + w / kRowsOfLane * 2;
    a.words[w] =
        matrix_word_of(two_of_part(part, element / 2), A::row(w), step * 16 + A::column(w));
  }
  return a;
}
// A for a tile of columns: row r of the lane is element r, depths are tokens.
KILN_DEVICE A values_of(const Values& values, int tile) {
  A a;
#pragma unroll
  for (int w = 0; w < kWordsOfA; ++w) {
    const int part = tile / kTilesOfPart;
    const int element = tile % kTilesOfPart * kRowsOfLane + w % kRowsOfLane;
    const int token = w / kRowsOfLane * 2;
    a.words[w] = matrix_word_of(
        one_of_each(values.parts[token][part], values.parts[token + 1][part], element),
        tile * 16 + A::row(w), A::column(w));
  }
  return a;
}

}  // namespace attention_decode_detail
}  // namespace kiln
