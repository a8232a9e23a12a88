// SPDX-License-Identifier: Apache-2.0
// bf16 and f16: every value to float, and floats around every rounding border to them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

// A 16-bit format: sign, exponent, mantissa.
struct Format {
  const char* name;
  int mantissa_bits;
  int exponent_min;  // of the smallest normal number
};
constexpr Format kFormats[] = {{"bf16", 7, -126}, {"f16", 10, -14}};

bool is_nan(const Format& format, std::uint16_t bits) {
  const int exponent_bits = 15 - format.mantissa_bits;
  const int infinity = ((1 << exponent_bits) - 1) << format.mantissa_bits;
  return (bits & 0x7fff) > infinity;
}

double value_of(const Format& format, std::uint16_t bits) {
  const int exponent_bits = 15 - format.mantissa_bits;
  const int mantissa = bits & ((1 << format.mantissa_bits) - 1);
  const int exponent = (bits & 0x7fff) >> format.mantissa_bits;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return sign * std::numeric_limits<double>::infinity();
  const int shift = format.exponent_min - format.mantissa_bits;
  if (exponent == 0) return sign * std::ldexp(mantissa, shift);
  return sign * std::ldexp(mantissa + (1 << format.mantissa_bits), shift + exponent - 1);
}

// The nearest value of the format, ties to even, in doubles.
double rounded(const Format& format, float x) {
  if (!std::isfinite(x) || x == 0) return x;
  const int exponent = std::max(std::ilogb(x), format.exponent_min);
  const double quantum = std::ldexp(1.0, exponent - format.mantissa_bits);
  const double nearest = std::nearbyint(x / quantum) * quantum;
  const double largest = value_of(format, format.mantissa_bits == 7 ? 0x7f7f : 0x7bff);
  return std::abs(nearest) > largest
             ? std::copysign(std::numeric_limits<double>::infinity(), nearest)
             : nearest;
}

std::vector<std::uint16_t> all_bits() {
  std::vector<std::uint16_t> bits(1 << 16);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  return bits;
}

// Each value of the format, the middle to its successor, and the floats beside both; NaNs whose
// payload lies in the bits that are rounded away; a sweep of everything.
std::vector<float> borders(const Format& format) {
  std::vector<float> x;
  for (const std::uint16_t bits : all_bits()) {
    if (is_nan(format, bits) || std::isinf(value_of(format, bits))) continue;
    const double here = value_of(format, bits);
    const double quantum =
        std::ldexp(1.0, std::max(here == 0 ? -2000 : std::ilogb(here), format.exponent_min) -
                            format.mantissa_bits);
    for (const double at : {here, here + std::copysign(quantum / 2, here)}) {
      const float border = static_cast<float>(at);
      for (const float towards : {-INFINITY, INFINITY})
        x.push_back(std::nextafter(border, towards));
      x.push_back(border);
    }
  }
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4099) {
    const auto word = static_cast<std::uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    x.push_back(value);
  }
  for (const std::uint32_t nan : {0x7f800001U, 0xff800001U, 0x7fffffffU, 0xffffffffU}) {
    float value;
    std::memcpy(&value, &nan, sizeof value);
    x.push_back(value);
  }
  while (x.size() % 16 != 0) x.push_back(1.0F);
  return x;
}

struct ConversionParams {
  const void* in;
  void* out;
};

Result<const CpuLibrary*> library_for(const Arch& arch) {
  std::vector<std::string> names = {"kiln::conversion_test::pairs"};
  for (const char* kind : {"scalar_to_", "scalar_from_", "vector_to_", "vector_from_"}) {
    for (const Format& format : kFormats) {
      names.push_back(fmt::format("kiln::conversion_test::{}{}", kind, format.name));
    }
  }
  return CpuLibrary::compile(test_source_input("conversions.cc", arch, names));
}

void check_from(const Format& format, KilnCpuEntry entry, const std::string& what) {
  const std::vector<std::uint16_t> in = all_bits();
  std::vector<float> out(in.size());
  const ConversionParams params{in.data(), out.data()};
  entry(nullptr, &params, 0, static_cast<long long>(in.size()));
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (is_nan(format, in[i])) {
      ASSERT_TRUE(std::isnan(out[i])) << "from " << what << " of bits " << in[i];
    } else {
      ASSERT_EQ(out[i], value_of(format, in[i])) << "from " << what << " of bits " << in[i];
      ASSERT_EQ(std::signbit(out[i]), (in[i] & 0x8000) != 0)
          << "from " << what << " of bits " << in[i];
    }
  }
}

void check_to(const Format& format, KilnCpuEntry entry, const std::string& what) {
  const std::vector<float> in = borders(format);
  std::vector<std::uint16_t> out(in.size());
  const ConversionParams params{in.data(), out.data()};
  entry(nullptr, &params, 0, static_cast<long long>(in.size()));
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(in[i])) {
      ASSERT_TRUE(is_nan(format, out[i])) << "to " << what << " of a NaN";
      continue;
    }
    ASSERT_FALSE(is_nan(format, out[i])) << "to " << what << " of " << in[i];
    ASSERT_EQ(value_of(format, out[i]), rounded(format, in[i])) << "to " << what << " of " << in[i];
    ASSERT_EQ((out[i] & 0x8000) != 0, std::signbit(in[i])) << "to " << what << " of " << in[i];
  }
}

using Conversion = CpuTest;

TEST_F(Conversion, RoundsToNearestEvenEverywhere) {
  for (const Arch& arch : host_archs()) {
    auto library = library_for(arch);
    ASSERT_TRUE(library) << words_of(library);
    for (const Format& format : kFormats) {
      for (const char* form : {"scalar", "vector"}) {
        const std::string prefix = fmt::format("kiln::conversion_test::{}", form);
        const std::string what = fmt::format("{} {} {}", form, format.name, arch.name());
        check_from(format, (*library)->entry(fmt::format("{}_from_{}", prefix, format.name)), what);
        check_to(format, (*library)->entry(fmt::format("{}_to_{}", prefix, format.name)), what);
      }
    }
  }
}

TEST_F(Conversion, PairsKeepTheirOrder) {
  auto library = library_for(host_archs().front());
  ASSERT_TRUE(library) << words_of(library);
  const std::vector<float> in = {1.0F, -2.5F, 0.0F, 1e30F};
  std::vector<float> out(in.size());
  const ConversionParams params{in.data(), out.data()};
  (*library)->entry("kiln::conversion_test::pairs")(nullptr, &params, 0, 4);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[1], -2.5F);
  EXPECT_EQ(out[2], 0.0F);
  EXPECT_EQ(out[3], static_cast<float>(rounded(kFormats[0], 1e30F)));
}

}  // namespace
}  // namespace kiln::test
