// SPDX-License-Identifier: Apache-2.0
// Elements of trial tensors as doubles, whatever floating-point type they are stored in, and how
// far rounding to that type may move a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/ops/tensor_check.h"

namespace kiln {

// Element `index` of the bf16, f16, f32, e4m3 or e5m2 elements at `bytes`.
double element_of(ElementType type, const std::byte* bytes, std::int64_t index);
// `count` of them from `first` on.
std::vector<double> elements_of(ElementType type, const std::byte* bytes, std::int64_t first,
                                std::int64_t count);

// Half a unit in the last place of `type` near `value`: what rounding to nearest may cost.
double half_ulp(ElementType type, double value);

// "bf16", "f16", "f32", "e4m3" or "e5m2", as shapes say it.
ElementType float_type_of(std::string_view word);

}  // namespace kiln
