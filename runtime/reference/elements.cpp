// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/reference/trial_tensor.h"

namespace kiln {
namespace {

// An 8-bit float from its definition: sign, exponent, mantissa.
double float8_of(ElementType type, std::uint8_t bits) {
  const bool wide = type == ElementType::e5m2;
  const int mantissa_bits = wide ? 2 : 3;
  const int exponent = (bits & 0x7f) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x80 ? -1 : 1;
  if (wide && exponent == 31) {
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  }
  if (!wide && (bits & 0x7f) == 0x7f) return std::numeric_limits<double>::quiet_NaN();
  const int bias = wide ? 15 : 7;
  const int one = exponent > 0 ? 1 << mantissa_bits : 0;
  return sign * std::ldexp(one + mantissa, std::max(exponent, 1) - bias - mantissa_bits);
}

}  // namespace

double element_of(ElementType type, const std::byte* bytes, std::int64_t index) {
  const std::size_t size = size_bytes_of(type);
  const std::byte* at = bytes + static_cast<std::size_t>(index) * size;
  if (type == ElementType::f32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  if (type == ElementType::f16) {
    _Float16 value;
    std::memcpy(&value, at, sizeof value);
    return static_cast<double>(value);
  }
  if (type == ElementType::e4m3 || type == ElementType::e5m2) {
    return float8_of(type, std::to_integer<std::uint8_t>(*at));
  }
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return float_of_bf16(bits);
}

std::vector<double> elements_of(ElementType type, const std::byte* bytes, std::int64_t first,
                                std::int64_t count) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = element_of(type, bytes, first + i);
  }
  return values;
}

double half_ulp(ElementType type, double value) {
  struct Format {
    int significant_bits;
    int exponent_min;  // of normal numbers, as in 2^n
  };
  const Format format = type == ElementType::f32   ? Format{24, -126}
                        : type == ElementType::f16 ? Format{11, -14}
                                                   : Format{8, -126};
  const int exponent = value == 0 ? format.exponent_min : std::ilogb(value);
  return std::ldexp(1.0, std::max(exponent, format.exponent_min) - format.significant_bits);
}

ElementType float_type_of(std::string_view word) {
  for (const ElementType type :
       {ElementType::bf16, ElementType::f16, ElementType::e4m3, ElementType::e5m2}) {
    if (name_of(type) == word) return type;
  }
  return ElementType::f32;
}

}  // namespace kiln
