// SPDX-License-Identifier: Apache-2.0
// Where a chunk of kda_prefill's two launches lies: its tokens, and its record in the workspace.
#pragma once

#include "kda_prefill/chunk.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slots.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kChunk = kKdaPrefillChunk;
constexpr int kStride = shape::K + kKdaPrefillRowPadding;
constexpr int kKeyTiles = shape::K / kChunk;
constexpr KdaPrefillRecord kAt = kda_prefill_record(shape::K);
static_assert(shape::K <= kKdaThreads, "a thread has one key; refused by can_build");

KILN_DEVICE i64 sequence_chunks(i64 length) {
  return (length + kChunk - 1) / kChunk;
}
// The first chunk of sequence n among those of all sequences.
KILN_DEVICE i64 first_chunk(const KdaParams& p, i64 n, const Sequence& tokens) {
  if (p.cu_seqlens == nullptr) return n * sequence_chunks(p.tokens);
  return tokens.first / kChunk + n;
}

struct ChunkPlace {
  i64 n, token;  // the first one, counted as tokens are
  int count;     // tokens; below 1: the sequence has no such chunk
};

KILN_DEVICE ChunkPlace chunk_at(const KdaParams& p, i64 number) {
  i64 n, first;
  if (p.cu_seqlens == nullptr) {
    n = number / sequence_chunks(p.tokens);
    first = (number - n * sequence_chunks(p.tokens)) * kChunk;
  } else {
    const SequenceTile tile =
        sequence_tile(Global<const i32>(p.cu_seqlens), p.batch, p.total, kChunk, number);
    n = tile.n;
    first = tile.first;
  }
  const Sequence tokens = tokens_of(p, n);
  if (first < 0 || first >= tokens.length) return {n, 0, 0};
  return {n, tokens.first + first, static_cast<int>(min(tokens.length - first, i64{kChunk}))};
}

KILN_DEVICE Global<u32> record_at(const KdaPrefillParams& p, i64 chunk, int hv) {
  return Global<u32>(reinterpret_cast<u32*>(p.workspace))
      .from((chunk * shape::HV + hv) * kAt.words);
}

}  // namespace kda_prefill_detail
}  // namespace kiln
