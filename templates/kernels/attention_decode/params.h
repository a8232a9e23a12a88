// SPDX-License-Identifier: Apache-2.0
// The arguments of one attention_decode call, as every implementation gets them: what varies from
// call to call. Read by host and kernels alike, so it holds plain C types and no address of a C++
// object.
//
// One query token per sequence n. Hq query heads, Hkv key/value heads (query head hq reads
// key/value head hq / (Hq / Hkv)), keys of D_qk and values of D_vo elements; the shape fixes these,
// the types, and whether the values are a part of the keys.
#pragma once

namespace kiln {

struct AttentionDecodeParams {
  // io type [batch, Hq, D_qk]: element [n, head, i] is at n * token_stride + head * head_stride +
  // i.
  struct Heads {
    const void* data;
    long long token_stride;  // elements
    long long head_stride;   // elements
  };
  // kv type [pages, page_size, Hkv, D]: element [page, slot, head, i] is at
  // page * page_stride + slot * token_stride + head * head_stride + i.
  struct Pages {
    const void* data;
    long long page_stride;   // elements
    long long token_stride;  // elements
    long long head_stride;   // elements
  };

  Heads q;
  Pages k;
  Pages v;  // the same as k where the shape says v_in_k

  // [batch, pages_max], dense in the last dimension: token j of sequence n is in slot
  // j % page_size of page block_table[n, j / page_size]. Entries behind the last token are not
  // read.
  const int* block_table;
  long long block_table_stride;  // elements, from sequence to sequence

  // [batch], dense: tokens of each sequence. Below 0 counts as 0; what is beyond the block table
  // is cut off.
  const int* seq_lens;

  // io type [batch, Hq, D_vo]; zeros for a sequence without tokens
  void* out;
  long long out_token_stride;  // elements
  long long out_head_stride;   // elements

  // [batch, Hq], dense in the last dimension: natural logarithm of the sum of e^score; -infinity
  // for a sequence without tokens. Null: not wanted.
  float* lse;
  long long lse_token_stride;  // elements

  // Partial results where splits > 1: first [batch, Hq, splits, D_vo] outputs, each already divided
  // by its own sum, then [batch, Hq, splits] base-2 logarithms of those sums. Contents undefined
  // before and after.
  float* workspace;

  int batch;
  int page_size;  // tokens
  int pages_max;  // columns of block_table
  int splits;     // parts that each sequence is divided into, 1 or more
  float scale;    // of the scores
  int reserved;
};
static_assert(sizeof(AttentionDecodeParams) == 8 * 23, "host and kernels agree on this layout");

}  // namespace kiln
