// SPDX-License-Identifier: Apache-2.0
// The arguments of an attention variant, within those of its op. Read by host and kernels alike, so
// it holds plain C types.
#pragma once

namespace kiln {

constexpr int kAttentionVariantTensorsMax = 4;
constexpr int kAttentionVariantScalarsMax = 4;

struct AttentionVariantParams {
  void* tensors[kAttentionVariantTensorsMax];     // in the order of the definition
  unsigned scalars[kAttentionVariantScalarsMax];  // the bits of a float or an int
};
static_assert(sizeof(AttentionVariantParams) == 48, "host and kernels agree on this layout");

}  // namespace kiln
