// SPDX-License-Identifier: Apache-2.0
// The accuracy that templates/device/kiln/math.h states, for every vector width of this host.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

struct Function {
  const char* name;
  double (*exact)(double);
  double ulps_max;
};

double exact_sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double exact_softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}
double exact_rsqrt(double x) {
  return 1 / std::sqrt(x);
}

const Function kFunctions[] = {
    {"exp", std::exp, 2},     {"exp2", std::exp2, 2},        {"expm1", std::expm1, 3},
    {"log", std::log, 2},     {"log2", std::log2, 3},        {"log1p", std::log1p, 2},
    {"tanh", std::tanh, 4},   {"sigmoid", exact_sigmoid, 3}, {"softplus", exact_softplus, 3},
    {"sqrt", std::sqrt, 0.5}, {"rsqrt", exact_rsqrt, 2},
};

// Every 2,053rd bit pattern (all magnitudes, both signs, NaNs), the range where these functions
// bend at equal distances, and their borders.
std::vector<float> inputs() {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 2053) {
    const auto word = static_cast<std::uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    x.push_back(value);
  }
  for (int i = -120'000; i <= 120'000; ++i) x.push_back(static_cast<float>(i) * 1e-3F);
  const float infinity = std::numeric_limits<float>::infinity();
  for (float edge : {0.0F, 1.0F, 2.0F, 88.72283F, 128.0F, 103.97208F, 149.5F, 1.17549435e-38F,
                     1.4e-45F, std::numeric_limits<float>::max(), infinity}) {
    for (float sign : {1.0F, -1.0F}) {
      for (float at : {edge, std::nextafter(edge, 0.0F), std::nextafter(edge, infinity)}) {
        x.push_back(sign * at);
      }
    }
  }
  while (x.size() % 16 != 0) x.push_back(0.5F);
  return x;
}

// The distance in units of the last place that a float near `exact` has.
double ulps_between(float got, double exact) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : std::numeric_limits<double>::infinity();
  const float rounded = static_cast<float>(exact);
  if (rounded == got) return 0;  // the infinities too
  if (!std::isfinite(got) || !std::isfinite(rounded)) {
    // Rounding to infinity or to the largest float is one step.
    const double largest = std::numeric_limits<float>::max();
    const double g = std::isinf(got) ? std::copysign(largest * (1 + 0x1p-24), got) : got;
    return std::isnan(got) ? std::numeric_limits<double>::infinity()
                           : std::abs(g - exact) / 0x1p104;
  }
  const int exponent = std::max(std::ilogb(exact), -126);
  return std::abs(got - exact) / std::ldexp(1.0, exponent - 23);
}

struct MathParams {
  const float* in;
  float* out;
};

void check(const Function& function, KilnCpuEntry entry, const std::vector<float>& x,
           const std::string& what) {
  std::vector<float> y(x.size(), -7.0F);
  const MathParams params{x.data(), y.data()};
  entry(nullptr, &params, 0, static_cast<long long>(x.size()));
  double worst = 0;
  float worst_x = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = ulps_between(y[i], function.exact(x[i]));
    if (error <= worst) continue;
    worst = error;
    worst_x = x[i];
  }
  EXPECT_LE(worst, function.ulps_max) << what << " at x = " << worst_x;
}

using Math = CpuTest;

TEST_F(Math, KeepsItsStatedAccuracy) {
  const std::vector<float> x = inputs();
  for (const Arch& arch : host_archs()) {
    std::vector<std::string> names;
    for (const Function& function : kFunctions) {
      names.push_back(std::string("kiln::math_test::scalar_") + function.name);
      names.push_back(std::string("kiln::math_test::vector_") + function.name);
    }
    auto library = CpuLibrary::compile(test_source_input("math.cc", arch, names));
    ASSERT_TRUE(library) << words_of(library);
    for (std::size_t i = 0; i < names.size(); ++i) {
      check(kFunctions[i / 2], (*library)->entry(names[i]), x, names[i] + " for " + arch.name());
    }
  }
}

}  // namespace
}  // namespace kiln::test
