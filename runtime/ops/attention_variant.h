// SPDX-License-Identifier: Apache-2.0
// The variant of an attention call: checked, and in the op's parameter struct.
#pragma once

#include "kiln/attention_variant.h"
#include "runtime/ops/tensor_check.h"
#include "runtime/packed_shape.h"
#include "templates/kernels/attention/variant_params.h"

namespace kiln {

// Fills `params`; a passing call allocates nothing. Errors: invalid_argument, naming the variant
// and what does not fit its definition.
Result<void> read_variant(TensorCheck& check, const AttentionVariantArgs& args,
                          AttentionVariantParams& params);

// Into shape parameter `variant`.
void set_variant(PackedShape& shape, const AttentionVariantArgs& args);

}  // namespace kiln
