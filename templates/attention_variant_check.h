// SPDX-License-Identifier: Apache-2.0
// Whether the text of an attention variant may become part of a kernel's source.
#pragma once

#include <string_view>

#include "templates/attention_variant.h"

namespace kiln {

// The members of the kernels' VariantPlace, which expressions use by these names.
inline constexpr std::string_view kAttentionVariantPlaces[] = {
    "batch_idx", "qo_idx", "kv_idx",   "qo_head_idx", "kv_head_idx",
    "qo_len",    "kv_len", "qo_token", "kv_token"};

// Errors: invalid_argument; see add_attention_variant().
Result<void> check_attention_variant(const AttentionVariant& variant);

}  // namespace kiln
