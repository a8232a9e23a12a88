// SPDX-License-Identifier: Apache-2.0
// What a work item of attention_decode on the native CPU works on, and what it keeps.
#pragma once

#include "attention_decode/logits.h"
#include "attention_decode/params.h"
#include "attention_decode/split_range.h"
#include "kiln/cpu.h"
#include "kiln/fp8.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"

namespace kiln {
namespace attention_decode_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Kv = CacheType<shape::kv_is::f16, shape::kv_is::e4m3, shape::kv_is::e5m2>;

constexpr int kTile = kSplitStep;                    // tokens of a step
constexpr int kTokens = 4;                           // whose products are computed at once
constexpr int kPartTokens = 16;                      // whose values are added head by head
constexpr int kLineElements = 64 / int{sizeof(Kv)};  // of a cache line

constexpr int kGroupHeads = shape::Hq / shape::Hkv;  // query heads that share a key/value head
constexpr int kRowsMax = 32;                         // of an item, or of several taken together

// Rows whose sums stay in registers: AVX-512 has 32 of them, the others 16.
constexpr int kRowBlock = vector_lanes == 16 ? 4 : 2;
// As many columns of each, as far as they come out even.
constexpr int kVectors = shape::D_vo / vector_lanes;
constexpr int kColumnVectors = kVectors % 4 == 0   ? 4
                               : kVectors % 3 == 0 ? 3
                               : kVectors % 2 == 0 ? 2
                                                   : 1;
constexpr int kBlockColumns = kColumnVectors * vector_lanes;
constexpr int kColumnBlocks = shape::D_vo / kBlockColumns;
static_assert(shape::D_qk % vector_lanes == 0, "refused by can_build");
static_assert(shape::D_vo % vector_lanes == 0, "refused by can_build");

struct Job {
  i64 n;  // sequence
  int kv_head;
  int first_row;  // among those of the key/value head, counted token by token
  int rows;
  int length;  // of the sequence
  int split;
  TokenRange tokens;
  int base;  // where the rows stand in the scratch memory

  KILN_DEVICE int token_of(int row) const { return (first_row + row) / kGroupHeads; }
  KILN_DEVICE int head_of(int row) const {
    return kv_head * kGroupHeads + (first_row + row) % kGroupHeads;
  }
};

// What an item keeps in the worker's scratch memory.
struct Scratch {
  float queries[kRowsMax][shape::D_qk];
  float sums[kRowsMax][shape::D_vo];  // of weight times value, not yet divided
  float weights[kRowsMax][kTile];     // products, then 2^(score - maximum)
  float factors[kRowsMax];            // what a new maximum takes the old sums down by
  float maxima[kRowsMax];
  float totals[kRowsMax];
  LogitRow logits[kRowsMax];
};
static_assert(sizeof(Scratch) <= kKilnCpuScratchBytes, "refused by can_build");

// Where the tokens of a step are; from `count` on, some valid address: the last token's if any.
struct Rows {
  const Kv* keys[kTile];
  const Kv* values[kTile];
  int count;
};

KILN_DEVICE const int* pages_of(const AttentionDecodeParams& p, i64 n) {
  return p.pages + (p.indptr != nullptr ? p.indptr[n] : n * p.pages_stride);
}
KILN_DEVICE int length_of(const AttentionDecodeParams& p, i64 n) {
  const int pages = p.indptr != nullptr ? p.indptr[n + 1] - p.indptr[n] : 0;
  return sequence_length(p, p.lengths[n], pages);
}
KILN_DEVICE float scale_of(const AttentionDecodeParams::Pages& cache, const Job& job) {
  if (cache.scale == nullptr) return 1.0f;
  return cache.scale[job.n * cache.scale_sequence_stride + job.kv_head * cache.scale_head_stride];
}

KILN_DEVICE void find_rows(const AttentionDecodeParams& p, const Job& job, int first, Rows& rows) {
  rows.count = max(0, min(kTile, job.tokens.end - first));
  const int* pages = pages_of(p, job.n);
  const Kv* keys = static_cast<const Kv*>(p.k.data) + job.kv_head * p.k.head_stride;
  const Kv* values = static_cast<const Kv*>(p.v.data) + job.kv_head * p.v.head_stride;
  int number = first / p.page_size;
  int slot = first % p.page_size;
  for (int t = 0; t < rows.count; ++t) {
    const i64 page = pages[number];
    rows.keys[t] = keys + page * p.k.page_stride + slot * p.k.token_stride;
    rows.values[t] = values + page * p.v.page_stride + slot * p.v.token_stride;
    if (++slot == p.page_size) {
      slot = 0;
      ++number;
    }
  }
  const Kv* last_key = rows.count > 0 ? rows.keys[rows.count - 1] : keys;
  const Kv* last_value = rows.count > 0 ? rows.values[rows.count - 1] : values;
  for (int t = rows.count; t < kTile; ++t) {
    rows.keys[t] = last_key;
    rows.values[t] = last_value;
  }
}

}  // namespace attention_decode_detail
}  // namespace kiln
