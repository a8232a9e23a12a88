// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of attention_decode share: which rows and tokens a block works on, where
// these lie, and where results go. A row is one query head of one query token; the rows that read
// the same key/value head are counted token by token and cut into tiles.
#pragma once

#include "attention_decode/logits.h"
#include "attention_decode/params.h"
#include "attention_decode/split_range.h"
#include "kiln/convert.h"
#include "kiln/fp8.h"
#include "kiln/global.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"

namespace kiln {
namespace attention_decode_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Kv = CacheType<shape::kv_is::f16, shape::kv_is::e4m3, shape::kv_is::e5m2>;

constexpr int kGroupHeads = shape::Hq / shape::Hkv;  // query heads that share a key/value head
static_assert(shape::Hq % shape::Hkv == 0, "refused by can_build");

struct Job {
  i64 n;  // sequence
  int kv_head;
  int first_row;  // of the tile, among those of the key/value head
  int rows;       // of the tile: fewer than it has room for in the last one
  int length;     // of the sequence
  int split;
  TokenRange tokens;

  KILN_DEVICE int token_of(int row) const { return (first_row + row) / kGroupHeads; }
  KILN_DEVICE int head_of(int row) const {
    return kv_head * kGroupHeads + (first_row + row) % kGroupHeads;
  }
};

KILN_DEVICE int length_of(const AttentionDecodeParams& p, i64 n) {
  int pages = 0;
  if (p.indptr != nullptr) {
    const Global<const i32> indptr(p.indptr);
    pages = indptr.load(n + 1) - indptr.load(n);
  }
  return sequence_length(p, Global<const i32>(p.lengths).load(n), pages);
}

// Grid: x counts (sequence, key/value head, tile of rows), y the splits.
KILN_DEVICE Job find_job(const AttentionDecodeParams& p, int tile_rows) {
  const int rows = p.q_tokens * kGroupHeads;
  const int tiles = ceil_div(rows, tile_rows);
  const int block = static_cast<int>(block_idx().x);
  Job job;
  job.kv_head = block / tiles % shape::Hkv;
  job.n = block / tiles / shape::Hkv;
  job.first_row = block % tiles * tile_rows;
  job.rows = min(tile_rows, rows - job.first_row);
  job.length = length_of(p, job.n);
  job.split = static_cast<int>(block_idx().y);
  job.tokens = split_range(p, job.length, job.split);
  return job;
}

// Where the table of a sequence's pages begins.
KILN_DEVICE Global<const i32> pages_of(const AttentionDecodeParams& p, const Job& job) {
  const i64 first =
      p.indptr != nullptr ? i64{Global<const i32>(p.indptr).load(job.n)} : job.n * p.pages_stride;
  return Global<const i32>(p.pages).from(first);
}

// Writes where keys and values of the tokens from `first` on begin, of at most `count`; one thread
// per token.
KILN_DEVICE void find_rows(const AttentionDecodeParams& p, const Job& job,
                           const Global<const i32>& pages, const Shared<i64>& key_rows,
                           const Shared<i64>& value_rows, int at, int first, int count) {
  const int t = thread_rank();
  if (t >= count || first + t >= job.tokens.end) return;
  const u32 token = static_cast<u32>(first + t);
  const u32 number = token / static_cast<u32>(p.page_size);
  const i64 slot = token - number * static_cast<u32>(p.page_size);
  const i64 page = pages.load(number);
  const auto row = [&](const AttentionDecodeParams::Pages& cache) {
    return page * cache.page_stride + slot * cache.token_stride + job.kv_head * cache.head_stride;
  };
  key_rows.store(at + t, row(p.k));
  value_rows.store(at + t, row(p.v));
}

KILN_DEVICE float scale_of(const AttentionDecodeParams::Pages& cache, const Job& job) {
  if (cache.scale == nullptr) return 1.0f;
  return Global<const float>(cache.scale)
      .load(job.n * cache.scale_sequence_stride + job.kv_head * cache.scale_head_stride);
}
KILN_DEVICE float of_head(const float* numbers, int head, float otherwise) {
  return numbers == nullptr ? otherwise : Global<const float>(numbers).load(head);
}

KILN_DEVICE LogitRow logit_row_of(const AttentionDecodeParams& p, const Job& job, int row) {
  return logit_row(p, p.scale * scale_of(p.k, job), of_head(p.alibi_slopes, job.head_of(row), 0.0f),
                   job.length, job.token_of(row));
}

// The softmax of a row is done: writes its logarithm, and returns what its sums are to be
// multiplied by. One thread per row.
KILN_DEVICE float finish_row(const AttentionDecodeParams& p, const Job& job, int row, float maximum,
                             float total) {
  const int head = job.head_of(row);
  const int token = job.token_of(row);
  const bool last = p.splits == 1;
  const float sink =
      last ? sink_log2(p, place_of(p, job, row, 0), of_head(p.sinks, head, minus_infinity()))
           : minus_infinity();
  const RowEnd end = end_row(maximum, total, sink);
  if (!last) {
    const i64 partial = partial_row(p, job.n, token, head, job.split);
    Global<float>(p.workspace).store(partial_rows(p) * shape::D_vo + partial, end.lse_log2);
  } else if (p.lse != nullptr) {
    Global<float>(p.lse).store(job.n * p.lse_sequence_stride + token * p.lse_token_stride + head,
                               end.lse_log2 * math_detail::kLn2);
  }
  return end.share * scale_of(p.v, job);
}

// Where the columns of a row go.
struct RowOutput {
  bool last;   // final, or partial with other splits
  i64 offset;  // in `out` or the workspace
};
KILN_DEVICE RowOutput output_of(const AttentionDecodeParams& p, const Job& job, int row) {
  const int head = job.head_of(row);
  const int token = job.token_of(row);
  if (p.splits > 1) {
    return {false, partial_row(p, job.n, token, head, job.split) * shape::D_vo};
  }
  return {true,
          job.n * p.out.sequence_stride + token * p.out.token_stride + head * p.out.head_stride};
}
KILN_DEVICE void store_column(const AttentionDecodeParams& p, const RowOutput& to, int column,
                              float value) {
  if (to.last) {
    Global<Io>(static_cast<Io*>(p.out.data)).store(to.offset + column, from_float<Io>(value));
  } else {
    Global<float>(p.workspace).store(to.offset + column, value);
  }
}

}  // namespace attention_decode_detail
}  // namespace kiln
