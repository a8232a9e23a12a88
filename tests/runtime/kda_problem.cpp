// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/kda_problem.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kiln::test {
namespace {

// An fp32 state's largest entry, for normalised k (the bound), per token as a random walk;
// outputs are fp32 sums over K of such a state.
constexpr double kStateTolerance = 2e-5;
constexpr double kOutTolerance = 1e-4;

double largest_of(const std::vector<double>& values) {
  double most = 1e-38;  // below fp32's normal range rounding is no share of the value
  for (const double value : values) {
    if (std::isfinite(value)) most = std::max(most, std::abs(value));
  }
  return most;
}

struct Inputs {
  std::vector<double> q, k, v, a, b, a_log, dt_bias;
};

void run_head(const KdaProblem& p, const Inputs& in, std::int64_t token, std::int64_t hv,
              std::vector<double>& state, std::vector<double>& out) {
  const KdaShapeOf& s = p.shape;
  const std::int64_t qk = token * s.heads + hv / (s.value_heads / s.heads);
  const std::int64_t head = token * s.value_heads + hv;
  const std::int64_t gates = p.scalar() ? 1 : s.k;
  const auto q = part(in.q, qk, s.k), k = part(in.k, qk, s.k), v = part(in.v, head, s.v);
  const auto a = part(in.a, head, gates), bias = part(in.dt_bias, hv, gates);
  reference::kda_decode_head(settings_of(p),
                             {q, k, v, a, bias, in.b[static_cast<std::size_t>(head)],
                              in.a_log[static_cast<std::size_t>(hv)]},
                             state, out);
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want,
                 const std::string& what, ElementType type, double tolerance) {
  const double allowed = tolerance * largest_of(want);
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double rounding = type == ElementType::f32 ? 0 : 1.001 * half_ulp(type, want[i]);
    if (std::abs(got[i] - want[i]) <= allowed + rounding) continue;
    ADD_FAILURE() << what << " element " << i << " is " << got[i] << ", not " << want[i];
    return;
  }
}

}  // namespace

KdaExpected expected_of(const KdaProblem& p) {
  const Inputs in{p.q.values(), p.k.values(),     p.v.values(),      p.a.values(),
                  p.b.values(), p.a_log.values(), p.dt_bias.values()};
  const std::vector<double> states = p.state.values();
  const std::int64_t hvs = p.shape.value_heads;
  KdaExpected expected;
  expected.out = p.out.values();  // what belongs to no sequence stays
  for (std::int64_t n = 0; n < p.batch(); ++n) {
    const std::int64_t slot = p.first_slot(n);
    for (std::int64_t hv = 0; hv < hvs; ++hv) {
      std::vector<double> state(static_cast<std::size_t>(p.shape.k * p.shape.v));
      if (p.in_pool(slot)) state = matrix_of(p, states, slot * hvs + hv);
      const std::int64_t length = std::min(p.lengths[static_cast<std::size_t>(n)], p.tokens_max);
      for (std::int64_t t = 0; t < length; ++t) {
        std::vector<double> out(static_cast<std::size_t>(p.shape.v), 0.0);
        if (p.in_pool(slot)) run_head(p, in, p.token(n, t), hv, state, out);
        std::copy(out.begin(), out.end(),
                  expected.out.begin() + (p.token(n, t) * hvs + hv) * p.shape.v);
        if (!p.in_pool(slot)) continue;
        if (p.numbers.state_write == KdaStateWrite::each) {
          const std::int64_t to = p.slots[static_cast<std::size_t>(n * p.columns + t)];
          if (p.in_pool(to)) expected.states[to * hvs + hv] = state;
        }
        if (!p.intermediate) continue;
        const std::int64_t to = p.intermediate_slots[static_cast<std::size_t>(n)];
        const auto& extents = p.intermediate->shape();
        if (to >= 0 && to < extents[0] && t < extents[1]) {
          expected.intermediate[(to * extents[1] + t) * hvs + hv] = state;
        }
      }
      if (p.numbers.state_write == KdaStateWrite::last && p.in_pool(slot) && length > 0) {
        expected.states[slot * hvs + hv] = state;
      }
    }
  }
  return expected;
}

namespace {

// Matrices that a call wrote, and those that it had to leave alone.
void expect_matrices(const KdaProblem& p, const StridedTensor& got, const StridedTensor& before,
                     const std::map<std::int64_t, std::vector<double>>& expected,
                     const std::string& what) {
  const std::vector<double> now = got.values();
  const std::vector<double> then = before.values();
  const std::int64_t size = p.shape.k * p.shape.v;
  const double tokens = std::max(1.0, static_cast<double>(p.tokens_max));
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(now.size()) / size; ++i) {
    const auto found = expected.find(i);
    const std::string name = what + " matrix " + std::to_string(i);
    if (found != expected.end()) {
      expect_near(matrix_of(p, now, i), found->second, name, p.shape.state,
                  kStateTolerance * std::sqrt(tokens));
      continue;
    }
    for (std::int64_t j = i * size; j < (i + 1) * size; ++j) {
      const double a = now[static_cast<std::size_t>(j)], b = then[static_cast<std::size_t>(j)];
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      ADD_FAILURE() << name << " changed at " << j - i * size << " from " << b << " to " << a;
      return;
    }
  }
  EXPECT_TRUE(got.rest_is_untouched()) << what;
}

}  // namespace

void expect_right(const KdaProblem& p, const KdaProblem& before, const KdaExpected& expected) {
  const std::vector<double> out = p.out.values();
  const std::int64_t size = p.shape.v;
  for (std::int64_t row = 0; row < static_cast<std::int64_t>(out.size()) / size; ++row) {
    const auto want = part(expected.out, row, size);
    const auto got = part(out, row, size);
    if (std::isnan(want[0])) {
      EXPECT_TRUE(std::isnan(got[0])) << "out row " << row << " belongs to no sequence";
    } else {
      expect_near(got, want, "out row " + std::to_string(row), p.shape.io, kOutTolerance);
    }
  }
  EXPECT_TRUE(p.out.rest_is_untouched());
  expect_matrices(p, p.state, before.state, expected.states, "state");
  if (p.intermediate) {
    expect_matrices(p, *p.intermediate, *before.intermediate, expected.intermediate,
                    "intermediate");
  }
}

void call_and_check(KdaProblem& p, Runtime& runtime, const CallOptions& options) {
  const KdaProblem before = p;
  const KdaExpected expected = expected_of(p);
  const auto done = p.call(runtime, options, [](KdaDecodeArgs&) {});
  ASSERT_TRUE(done) << done.error().message << done.error().log;
  expect_right(p, before, expected);
}

}  // namespace kiln::test
