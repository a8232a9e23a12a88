// SPDX-License-Identifier: Apache-2.0
// Variants of attention_prefill and attention_decode: what a caller adds to the logits, as data.
// See add_attention_variant() for what an expression may hold.
//
//   AttentionVariant alibi;
//   alibi.name = "alibi";
//   alibi.logits = "logit + slopes[qo_head_idx] * (kv_idx - qo_idx - (kv_len - qo_len))";
//   alibi.tensors = {{"slopes", "f32"}};
//   args.variant.variant = *add_attention_variant(alibi);
//   args.variant.tensors = std::span(&slopes, 1);  // a DLTensor [Hq]
#pragma once

#include <dlpack/dlpack.h>

#include <span>

#include "templates/attention_variant.h"

namespace kiln {

// The variant of one call, with what its expressions name. What the spans refer to is only read
// during the call; the tensors' memory must stay until the stream has run it.
struct AttentionVariantArgs {
  const KnownAttentionVariant* variant = nullptr;  // null: none
  // As many as the definition has, in its order and of its types; contiguous, of any sizes, on the
  // device of the other tensors. Which elements the expressions read is the caller's to know.
  std::span<const DLTensor> tensors;
  // Likewise; those of type i32 are whole numbers.
  std::span<const double> scalars;
};

}  // namespace kiln
