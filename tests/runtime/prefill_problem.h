// SPDX-License-Identifier: Apache-2.0
// attention_prefill of sequences one after another, in tensors that may lie anywhere, and what fp64
// makes of them.
#pragma once

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kiln/attention_prefill.h"
#include "runtime/reference/attention_prefill.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/sequence_lengths.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln::test::prefill {

using enum ElementType;
using Lengths = std::vector<std::int64_t>;

// cu_seqlens as a tensor.
struct Starts {
  explicit Starts(const Lengths& lengths)
      : starts(starts_of(lengths)), shape{static_cast<std::int64_t>(starts.size())} {}
  DLTensor dl() {
    DLTensor tensor{};
    tensor.data = starts.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = {kDLInt, 32, 1};
    tensor.shape = shape.data();
    return tensor;
  }
  std::vector<std::int32_t> starts;
  std::vector<std::int64_t> shape;
};

struct Problem {
  Lengths q_lengths, kv_lengths;
  std::int64_t q_heads = 4, kv_heads = 2, size = 64;
  bool causal = true;
  std::int64_t total_q = 0, total_kv = 0;
  Starts starts_q, starts_kv;
  StridedTensor q, k, v, out, lse;

  Problem(Lengths q_len, Lengths kv_len, bool is_causal = true)
      : q_lengths(std::move(q_len)),
        kv_lengths(std::move(kv_len)),
        causal(is_causal),
        total_q(starts_of(q_lengths).back()),
        total_kv(starts_of(kv_lengths).back()),
        starts_q(q_lengths),
        starts_kv(kv_lengths),
        q(bf16, {total_q, q_heads, size}),
        k(bf16, {total_kv, kv_heads, size}),
        v(bf16, {total_kv, kv_heads, size}),
        out(bf16, {total_q, q_heads, size}),
        lse(f32, {total_q, q_heads}) {
    fill();
  }
  void fill() {
    Random random(5);
    q.fill([&] { return random.uniform(-6, 6); });
    k.fill([&] { return random.uniform(-1, 1); });
    v.fill([&] { return random.uniform(-1, 1); });
  }
  AttentionPrefillArgs args() {
    AttentionPrefillArgs args{};
    args.q = q.dl();
    args.k = k.dl();
    args.v = v.dl();
    args.cu_seqlens_q = starts_q.dl();
    args.cu_seqlens_kv = starts_kv.dl();
    args.out = out.dl();
    args.lse = lse.dl();
    args.causal = causal;
    return args;
  }
};

// The rows of one head in a dense [tokens, heads, size].
inline std::vector<double> head_rows(const std::vector<double>& tensor, std::int64_t heads,
                                     std::int64_t size, std::int64_t first, std::int64_t count,
                                     std::int64_t head) {
  std::vector<double> rows;
  for (std::int64_t token = first; token < first + count; ++token) {
    const auto at = tensor.begin() + (token * heads + head) * size;
    rows.insert(rows.end(), at, at + size);
  }
  return rows;
}

struct Expected {
  std::vector<double> out, lse;  // dense
};

inline Expected reference_of(const Problem& problem, double scale) {
  const std::vector<double> q = problem.q.values(), k = problem.k.values(), v = problem.v.values();
  const std::int64_t size = problem.size, heads = problem.q_heads;
  Expected expected;
  std::vector<double> out(static_cast<std::size_t>(size)), terms(out);
  for (std::size_t n = 0; n < problem.q_lengths.size(); ++n) {
    for (std::int64_t i = 0; i < problem.q_lengths[n]; ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t first = problem.starts_kv.starts[n];
        const std::int64_t keys = problem.kv_lengths[n];
        const std::int64_t kv_head = head / (heads / problem.kv_heads);
        const auto query = head_rows(q, heads, size, problem.starts_q.starts[n] + i, 1, head);
        reference::AttentionRule rule;
        rule.scale = scale;
        rule.causal = problem.causal;
        const auto row = reference::attention_row(
            rule, i, problem.q_lengths[n], query,
            head_rows(k, problem.kv_heads, size, first, keys, kv_head),
            head_rows(v, problem.kv_heads, size, first, keys, kv_head), out, terms);
        expected.out.insert(expected.out.end(), out.begin(), out.end());
        expected.lse.push_back(row.lse);
      }
    }
  }
  return expected;
}

// Where a call runs, and who must serve it there.
struct Machine {
  const char* arch = "cpu";
  const char* serves = "attention_prefill/cpu";
};

class AttentionPrefillTest : public LlvmTest {
 protected:
  static void call(const AttentionPrefillArgs& args, Machine machine = {}) {
    CallOptions options;
    Selection selection;
    options.arch = *Arch::parse(machine.arch);
    options.selected = &selection;
    const auto done = attention_prefill(llvm().runtime(), args, options);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
    EXPECT_EQ(selection.implementation->name, machine.serves);
  }
  // Beyond an ulp of bf16: what fp32 sums of a few hundred terms lose, where scores are a few
  // units.
  struct Allowed {
    double out = 1e-5;
    double lse = 1e-4;
  };
  static void run_and_compare(Problem& problem, double scale = 0.125, Machine machine = {}) {
    run_and_compare(problem, scale, machine, Allowed{});
  }
  static void run_and_compare(Problem& problem, double scale, Machine machine, Allowed allowed) {
    AttentionPrefillArgs args = problem.args();
    args.scale = static_cast<float>(scale);
    call(args, machine);
    const Expected expected = reference_of(problem, scale);
    const std::vector<double> out = problem.out.values(), lse = problem.lse.values();
    Comparison out_error("out", "1 bf16 ulp and more");
    Comparison lse_error("lse", "absolute");
    ASSERT_EQ(out.size(), expected.out.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out_error.add(out[i], expected.out[i], bf16_ulp(expected.out[i]) + allowed.out);
    }
    for (std::size_t i = 0; i < lse.size(); ++i) {
      lse_error.add(lse[i], expected.lse[i], allowed.lse);
    }
    EXPECT_TRUE(out_error.result().passed()) << out_error.result().abs_max;
    EXPECT_TRUE(lse_error.result().passed()) << lse_error.result().abs_max;
    EXPECT_TRUE(problem.out.rest_is_untouched());
    EXPECT_TRUE(problem.lse.rest_is_untouched());
  }
};

}  // namespace kiln::test::prefill
