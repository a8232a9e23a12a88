// SPDX-License-Identifier: Apache-2.0
// The arguments of one attention_prefill call, as every implementation gets them: what varies from
// call to call. Read by host and kernels alike, so it holds plain C types and no address of a C++
// object.
//
// Hq query heads, Hkv key/value heads (query head h reads key/value head h / (Hq / Hkv)), D_qk
// elements of a query or key head, D_vo of a value or output head; the shape fixes these, the types
// and whether keys and values are paged.
#pragma once

#include "attention/variant_params.h"

namespace kiln {

struct AttentionPrefillParams {
  // Element i of a head is at block * block_stride + token * token_stride + head * head_stride + i.
  // Packed sequences: block is 0 and the token that of the packed tensor. Dense: block is the
  // sequence. Paged: block is a page and the token one of its page_size.
  struct Heads {
    const void* data;
    long long block_stride;  // elements
    long long token_stride;  // elements
    long long head_stride;   // elements
  };

  Heads q;    // io type
  Heads k;    // io type
  Heads v;    // io type
  Heads out;  // io type, written
  // f32, written: natural logarithm of the sum of e^logit over the keys seen and the sink; no data:
  // not wanted. A "head" has one element.
  Heads lse;

  // [batch + 1] each, dense: sequence n has the queries cu_seqlens_q[n] to cu_seqlens_q[n + 1] - 1.
  // Null: each has q_len queries, kv_len keys.
  const int* cu_seqlens_q;
  const int* cu_seqlens_kv;
  // [batch], dense: keys of each sequence, of the kv_len that there is room for. Null: all.
  const int* kv_lens;
  // Paged: page j of sequence n is block_table[n * block_table_stride + j].
  const int* block_table;
  long long block_table_stride;

  // [Hq], dense: a logit that joins the sum of each row of this head and has no value; null: none.
  const float* sinks;
  // Bit (i * keys + j) of the bits of sequence n, which begin at byte mask_offsets[n], little end
  // first, says whether its query i sees key j. Bytes beyond mask_bytes count as 0. Null: all.
  const unsigned char* mask;
  const long long* mask_offsets;
  long long mask_bytes;

  long long total_q;   // queries of all sequences: rows of q
  long long total_kv;  // keys of all sequences that there is room for: rows of k
  int batch;           // sequences
  int q_len;           // without cu_seqlens_q
  int kv_len;          // without cu_seqlens_kv
  int page_size;       // tokens
  int pages;           // in k and v; a page outside of them holds zeros
  // Query i sees the keys j from i + keys - queries - window_left to i + keys - queries +
  // window_right; from 0 to 2^30 - 1.
  int window_left;
  int window_right;
  float scale;    // of q.k; usually D_qk^-0.5
  float softcap;  // logit = softcap * tanh(scale q.k / softcap); 0: none
  int reserved;

  AttentionVariantParams variant;
};
static_assert(sizeof(AttentionPrefillParams) == 8 * 31 + 4 * 10 + 48,
              "host and kernels agree on this layout");

// A window this wide is none.
constexpr int kAttentionPrefillWindowMax = (1 << 30) - 1;

}  // namespace kiln
