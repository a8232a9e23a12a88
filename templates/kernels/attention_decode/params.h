// SPDX-License-Identifier: Apache-2.0
// The arguments of one attention_decode call, as every implementation gets them: what varies from
// call to call. Read by host and kernels alike, so it holds plain C types and no address of a C++
// object.
//
// A few query tokens (q_tokens, T) per sequence n, the last ones of its tokens. Hq query heads, Hkv
// key/value heads (query head hq reads key/value head hq / (Hq / Hkv)), keys of D_qk and values of
// D_vo elements; the shape fixes these, the types, whether the values are a part of the keys, and
// whether scores are capped.
#pragma once

#include "attention/variant_params.h"

namespace kiln {

struct AttentionDecodeParams {
  // io type [batch, T, Hq, D]: element [n, t, head, i] is at
  // n * sequence_stride + t * token_stride + head * head_stride + i.
  struct Heads {
    void* data;
    long long sequence_stride;  // elements, as all strides
    long long token_stride;
    long long head_stride;
  };
  // kv type [pages, page_size, Hkv, D]: element [page, slot, head, i] is at
  // page * page_stride + slot * token_stride + head * head_stride + i. What is stored is to be
  // multiplied by scale[n * scale_sequence_stride + head * scale_head_stride]; null: by 1.
  struct Pages {
    const void* data;
    long long page_stride;
    long long token_stride;
    long long head_stride;
    const float* scale;
    long long scale_sequence_stride;
    long long scale_head_stride;
  };

  Heads q;    // read
  Heads out;  // written; zeros for a token that sees no key
  Pages k;
  Pages v;  // the same as k where the shape says v_in_k

  // Token j of sequence n is in slot j % page_size of page pages[first + j / page_size], where
  // first is indptr[n], or n * pages_stride without indptr. Entries behind the last token are not
  // read.
  const int* pages;
  long long pages_stride;
  // [batch + 1]; null: the pages of each sequence are a row of pages_max entries.
  const int* indptr;
  // [batch], dense. Without indptr: tokens of each sequence. With it: tokens in its last page.
  // Below 0 counts as 0; what is beyond pages_max pages is cut off.
  const int* lengths;

  // [batch, T, Hq], dense in the last dimension: natural logarithm of the sum of e^score, the sink
  // included; -infinity for no terms. Null: not wanted.
  float* lse;
  long long lse_sequence_stride;
  long long lse_token_stride;

  const float* sinks;         // [Hq] one more score for each head, of no value; null: none
  const float* alibi_slopes;  // [Hq] added to scores, times how far the key lies ahead; null: 0

  // Partial results where splits > 1: first [batch, T, Hq, splits, D_vo] outputs, each already
  // divided by its own sum, then [batch, T, Hq, splits] base-2 logarithms of those sums. Contents
  // undefined before and after.
  float* workspace;

  int batch;
  int q_tokens;      // T, 1 or more
  int page_size;     // tokens
  int pages_max;     // of a sequence
  int splits;        // parts that each sequence is divided into, 1 or more
  int split_tokens;  // of each part, a multiple of 64; 0: the sequence's tokens are shared out
  int window_left;   // keys before a token's own that it sees; below 0: all
  float scale;       // of the scores
  float softcap;     // c of c tanh(score / c), where the shape says so
  int reserved;

  AttentionVariantParams variant;  // of the shape's variant
};
static_assert(sizeof(AttentionDecodeParams) == 8 * 43, "host and kernels agree on this layout");

}  // namespace kiln
