// SPDX-License-Identifier: Apache-2.0
// Which queries and keys a piece of attention_prefill is about, and which of these see each other;
// one text for GPU and CPU. `Memory<T>` reads device data by load(i): Global<const T> or, on the
// CPU, HostMemory<T>. Lengths, pages and offsets are device data that no host has checked: wrong
// ones give wrong results and no fault.
#pragma once

#include "attention/variant.h"
#include "attention_prefill/params.h"
#include "kiln/base.h"
#include "kiln/shape.h"
#include "varlen/sequences.h"

namespace kiln {
namespace attention_prefill_detail {

using Params = AttentionPrefillParams;

template <class T>
struct HostMemory {
  const T* data;
  KILN_DEVICE explicit HostMemory(const T* memory) : data(memory) {}
  KILN_DEVICE T load(i64 i) const { return data[i]; }
};

constexpr int kGroup = shape::Hq / shape::Hkv;  // query heads of a key/value head

// The keys of one row: `first` up to, but without, `end`.
struct KeyRange {
  int first;
  int end;
};

// One sequence. Tokens are counted within it.
struct Job {
  int n;
  int queries;
  int keys;
  i64 q_block;  // of Heads, for q, out and lse
  i64 q_token;  // of its first query
  i64 kv_block;
  i64 kv_token;
  i64 q_row;   // of its first query, in q as [tokens, heads, size]
  i64 kv_row;  // of its first key

  // Bottom-right: the last query is aligned with the last key.
  KILN_DEVICE KeyRange visible(const Params& p, int i) const {
    const int aligned = i + keys - queries;
    const int right = shape::causal ? 0 : p.window_right;
    // Lengths reach 2^30: the sum is only formed where it is below `keys`.
    const int end = right >= keys - 1 - aligned ? keys : max(aligned + right + 1, 0);
    return {min(max(aligned - p.window_left, 0), end), end};
  }
  // The keys that any of the rows `first` to `last` may see.
  KILN_DEVICE KeyRange visible(const Params& p, int first, int last) const {
    return {visible(p, first).first, visible(p, last).end};
  }
};

// A tile of up to `rows` queries of a sequence, by its number, as the launch plan counts them.
struct Tile {
  int n;
  int first;  // query; not below the sequence's queries: nothing to do
};
template <template <class> class Memory>
KILN_DEVICE Tile find_tile(const Params& p, int rows, i64 number) {
  if (p.cu_seqlens_q == nullptr) {
    const i64 tiles = ceil_div(p.q_len, rows);
    return {static_cast<int>(number / tiles), static_cast<int>(number % tiles) * rows};
  }
  const SequenceTile tile =
      sequence_tile(Memory<i32>(p.cu_seqlens_q), p.batch, p.total_q, rows, number);
  return {static_cast<int>(tile.n), static_cast<int>(min(tile.first, i64{1} << 30))};
}

template <template <class> class Memory>
KILN_DEVICE Job find_job(const Params& p, int n) {
  Job job;
  job.n = n;
  if (p.cu_seqlens_q == nullptr) {
    job.queries = p.q_len;
    job.q_block = n;
    job.q_token = 0;
    job.q_row = i64{n} * p.q_len;
  } else {
    const Sequence q = sequence_at(Memory<i32>(p.cu_seqlens_q), n, p.total_q);
    job.queries = static_cast<int>(q.length);
    job.q_block = 0;
    job.q_token = job.q_row = q.first;
  }
  if (p.cu_seqlens_kv == nullptr) {
    job.keys = p.kv_len;
    job.kv_block = n;
    job.kv_token = 0;
    job.kv_row = i64{n} * p.kv_len;
    if (p.kv_lens != nullptr) job.keys = min(max(Memory<i32>(p.kv_lens).load(n), 0), p.kv_len);
  } else {
    const Sequence kv = sequence_at(Memory<i32>(p.cu_seqlens_kv), n, p.total_kv);
    job.keys = static_cast<int>(kv.length);
    job.kv_block = 0;
    job.kv_token = job.kv_row = kv.first;
  }
  return job;
}

// Where keys or values are: a row of key j, without head.
struct KeyPlace {
  i64 block;  // -1: there is none
  i64 token;
};
template <template <class> class Memory>
KILN_DEVICE KeyPlace find_key(const Params& p, const Job& job, int j) {
  if constexpr (!shape::paged) return {job.kv_block, job.kv_token + j};
  const u32 page_size = static_cast<u32>(p.page_size);
  const u32 number = static_cast<u32>(j) / page_size;
  const i32 page =
      Memory<i32>(p.block_table).load(job.n * p.block_table_stride + static_cast<i64>(number));
  const bool is_page = 0 <= page && page < p.pages;
  return {is_page ? page : -1, static_cast<u32>(j) - number * page_size};
}
KILN_DEVICE i64 offset_of(const Params::Heads& tensor, const KeyPlace& place, int head) {
  return place.block * tensor.block_stride + place.token * tensor.token_stride +
         head * tensor.head_stride;
}
KILN_DEVICE i64 row_offset(const Params::Heads& tensor, const Job& job, int i, int head) {
  return job.q_block * tensor.block_stride + (job.q_token + i) * tensor.token_stride +
         head * tensor.head_stride;
}

template <template <class> class Memory>
KILN_DEVICE bool mask_bit(const Params& p, const Job& job, int i, int j) {
  const i64 bit = i64{i} * job.keys + j;
  const i64 byte = Memory<i64>(p.mask_offsets).load(job.n) + bit / 8;
  if (byte < 0 || byte >= p.mask_bytes) return false;
  return (Memory<u8>(p.mask).load(byte) >> (bit % 8) & 1) != 0;
}

KILN_DEVICE VariantPlace place_of(const Job& job, int i, int j, int head) {
  return {job.n, i, j, head, head / kGroup, job.queries, job.keys, job.q_row + i, job.kv_row + j};
}

// What the score of a pair goes through beyond scale and window. Where nothing does, kernels keep
// scores times log2 e from the beginning; else they call logit_of() with the natural score.
KILN_DEVICE bool has_rules(const Params& p) {
  return p.softcap != 0.0f || p.mask != nullptr || variant::has_logits || variant::has_mask ||
         !variant::softmax;
}
// False: the query does not see the key. `score` becomes the logit that counts.
template <template <class> class Memory>
KILN_DEVICE bool apply_rules(const Params& p, const Job& job, int i, int j, int head,
                             float& score) {
  if (p.mask != nullptr && !mask_bit<Memory>(p, job, i, j)) return false;
  if constexpr (variant::has_mask) {
    if (!variant::mask(p.variant, place_of(job, i, j, head))) return false;
  }
  if (p.softcap != 0.0f) score = p.softcap * tanh(score / p.softcap);
  if constexpr (variant::has_logits) {
    score = variant::logits(p.variant, place_of(job, i, j, head), score);
  }
  return true;
}

// The logit that joins a row's sum from the beginning; -infinity: none.
template <template <class> class Memory>
KILN_DEVICE float first_logit(const Params& p, const Job& job, int i, int head) {
  float logit = bit_cast<float>(0xff800000u);
  if (p.sinks != nullptr) logit = Memory<float>(p.sinks).load(head);
  if constexpr (variant::has_sink) {
    const float other = variant::sink(p.variant, place_of(job, i, 0, head));
    const float larger = max(logit, other);
    // Equal infinities have no difference.
    if (logit != other)
      logit = larger + log1p(exp(min(logit, other) - larger));
    else
      logit = larger + (larger - larger == 0.0f ? 0.693147181f : 0.0f);
  }
  return logit;
}

}  // namespace attention_prefill_detail
}  // namespace kiln
