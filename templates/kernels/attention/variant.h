// SPDX-License-Identifier: Apache-2.0
// What an attention variant's expressions see, and its hooks as the kernels call them. The hooks
// themselves are in "kiln/variant.h", which is generated from the variant of the shape
// (templates/attention_variant.h):
//
//   variant::softmax     whether weights are e^logit over their sum; otherwise they are the logits
//   variant::has_logits  whether logits() does anything; likewise has_mask, has_sink
//   variant::logits(params, place, logit)  the logit that counts
//   variant::mask(params, place)           whether the query sees the key
//   variant::sink(params, place)           one more logit of the row's denominator; of `place`, the
//                                          numbers of keys mean nothing
//
// Kernels call them only for a query and a key that exist and that causal, window and bit mask let
// see each other; logits() only where mask() says yes.
#pragma once

#include "attention/variant_params.h"
#include "kiln/base.h"
#include "kiln/convert.h"
#include "kiln/math.h"
#if !KILN_DIALECT_CPU
#include "kiln/global.h"
#endif

namespace kiln {

// Which query and key, in the words of FlashInfer's variants.
struct VariantPlace {
  int batch_idx;  // sequence
  int qo_idx;     // of the sequence's queries
  int kv_idx;     // of its keys
  int qo_head_idx;
  int kv_head_idx;
  int qo_len;    // queries of the sequence
  int kv_len;    // keys of the sequence
  i64 qo_token;  // row of the query in q as [tokens, heads, size], of the key in k likewise;
  i64 kv_token;  // paged keys count batch_idx * pages_max * page_size + kv_idx
};

namespace variant_detail {
KILN_DEVICE float value_of(float x) {
  return x;
}
KILN_DEVICE float value_of(bf16 x) {
  return to_float(x);
}
KILN_DEVICE float value_of(f16 x) {
  return to_float(x);
}
KILN_DEVICE int value_of(i32 x) {
  return x;
}
KILN_DEVICE int value_of(u8 x) {
  return x;
}
}  // namespace variant_detail

#if KILN_DIALECT_CPU
template <class T>
class VariantTensor {
 public:
  KILN_DEVICE explicit VariantTensor(void* data) : data_(static_cast<T*>(data)) {}
  KILN_DEVICE auto operator[](i64 i) const { return variant_detail::value_of(data_[i]); }
  // Stores `value` at element `i` and gives it back. One pair of query and key may write an
  // element, no more.
  KILN_DEVICE float put(i64 i, float value) const {
    if constexpr (is_same<T, float>) {
      data_[i] = value;
    } else {
      data_[i] = from_float<T>(value);
    }
    return value;
  }

 private:
  T* data_;
};
#else
template <class T>
class VariantTensor {
 public:
  KILN_DEVICE explicit VariantTensor(void* data) : data_(static_cast<T*>(data)) {}
  KILN_DEVICE auto operator[](i64 i) const { return variant_detail::value_of(data_.load(i)); }
  KILN_DEVICE float put(i64 i, float value) const {
    if constexpr (is_same<T, float>) {
      data_.store(i, value);
    } else {
      data_.store(i, from_float<T>(value));
    }
    return value;
  }

 private:
  Global<T> data_;
};
#endif

}  // namespace kiln

#include "kiln/variant.h"
