// SPDX-License-Identifier: Apache-2.0
// kda_prefill against fp64, by each of its implementations, on the native CPU and on the SIMT
// machine with warps of 32 and of 64: everything that a shape can say, the edges of a chunk, and
// gates at their extremes.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kiln/kda_prefill.h"
#include "tests/runtime/kda_places.h"

namespace kiln::test {
namespace {

using Lengths = std::vector<std::int64_t>;
using enum ElementType;

const std::vector<std::pair<std::string, std::string>> kPlaces = {
    // implementation, arch
    {"chunked_cpu", "cpu"},       {"cpu", "cpu"},
    {"chunked_cpu", "x86-64-v3"}, {"chunked_cpu", "x86-64-v2"},
    {"chunk_parallel", "simt"},   {"chunk_parallel", "simt:warp64"},
    {"chunked", "simt"},          {"chunked", "simt:warp64"},
    {"lane_rows", "simt"},        {"lane_rows", "simt:warp64"},
};
bool on_simt(std::size_t place) {
  return kPlaces[place].second.starts_with("simt");
}

Result<void> prefill(KdaProblem& p, std::size_t place) {
  Runtime& runtime = runtime_of("kda_prefill/" + kPlaces[place].first);
  CallOptions options;
  options.arch = *Arch::parse(kPlaces[place].second);
  Integers slots(std::vector<std::int32_t>(p.slots.begin(), p.slots.end()), {p.batch()});
  Integers starts(p.starts, {p.batch() + 1});
  KdaPrefillArgs args{};
  args.q = p.q.dl();
  args.k = p.k.dl();
  args.v = p.v.dl();
  args.a = p.a.dl();
  args.b = p.b.dl();
  if (p.shape.gate != KdaGate::precomputed) {
    args.A_log = p.a_log.dl();
    args.dt_bias = p.dt_bias.dl();
  }
  args.state = p.state.dl();
  args.slots = slots.dl();
  if (p.tokens == Tokens::varlen) args.cu_seqlens = starts.dl();
  args.out = p.out.dl();
  args.gate = p.shape.gate;
  args.beta = p.shape.beta;
  args.layout = p.shape.layout;
  args.qk_l2norm = p.shape.qk_l2norm;
  args.scale = p.numbers.scale;
  std::vector<float> workspace;
  std::vector<std::int64_t> floats(1);
  if (kPlaces[place].first == "chunk_parallel") {
    floats[0] = *kda_prefill_workspace_floats(args);
    workspace.assign(static_cast<std::size_t>(floats[0]), std::nanf(""));
    args.workspace = {workspace.data(), {kDLCPU, 0}, 1, {kDLFloat, 32, 1},
                      floats.data(),    nullptr,     0};
  }
  return kda_prefill(runtime, args, options);
}

void prefill_and_check(KdaProblem p, std::size_t place) {
  while (kPlaces[place].first.starts_with("chunk") && on_simt(place) && p.shape.k > 128) {
    place += 2;  // lane_rows serves it
  }
  SCOPED_TRACE(kPlaces[place].first + " on " + kPlaces[place].second);
  const KdaProblem before = p;
  const KdaExpected expected = expected_of(p);
  const auto done = prefill(p, place);
  ASSERT_TRUE(done) << done.error().message << done.error().log;
  expect_right(p, before, expected);
}

const std::vector<std::pair<std::string, KdaShapeOf>> kShapes = {
    {"plain", {1, 2, 128, 128}},
    {"lower_bound", {.gate = KdaGate::lower_bound}},
    {"precomputed", {.gate_io = f32, .gate = KdaGate::precomputed}},
    {"gdn_kv_bf16", {.state = bf16, .gate = KdaGate::scalar, .layout = KdaLayout::KV}},
    {"gdn", {.k = 128, .v = 128, .gate = KdaGate::scalar}},
    {"beta_doubled_group_of_4", {.value_heads = 4, .beta = KdaBeta::doubled}},
    {"beta_given_no_norm", {.gate_io = f32, .beta = KdaBeta::given, .qk_l2norm = false}},
    {"k64_v256_f16", {1, 1, 64, 256, f16, f16}},
    {"k256_v64_f32", {1, 1, 256, 64, f32, f32}},
    {"k256_v128_bf16_state", {1, 1, 256, 128, bf16, bf16, bf16}},
    {"kv_k64_v128", {.v = 128, .layout = KdaLayout::KV}},
    {"kv_k256_v64", {.value_heads = 1, .k = 256, .layout = KdaLayout::KV}},
};

class KdaPrefillShapes : public testing::TestWithParam<int> {};

// In chunks on the CPU, and in one of the other places in turn; on the SIMT machine, which is slow,
// with fewer tokens.
TEST_P(KdaPrefillShapes, IsRight) {
  const auto& [name, shape] = kShapes[static_cast<std::size_t>(GetParam())];
  if (!LlvmRuntime().available()) GTEST_SKIP() << LlvmRuntime().why_not();
  const std::size_t others = kPlaces.size() - 1;
  for (const std::size_t place :
       {std::size_t{0}, 1 + static_cast<std::size_t>(GetParam()) % others}) {
    prefill_and_check(KdaProblem(shape, Tokens::varlen,
                                 on_simt(place) ? Lengths{17, 0, 1} : Lengths{17, 0, 1, 80}, 5),
                      place);
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, KdaPrefillShapes,
                         testing::Range(0, static_cast<int>(kShapes.size())), [](const auto& of) {
                           return kShapes[static_cast<std::size_t>(of.param)].first;
                         });

class KdaPrefillPlaces : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!LlvmRuntime().available()) GTEST_SKIP() << LlvmRuntime().why_not();
  }
  static std::size_t place() { return static_cast<std::size_t>(GetParam()); }
};

TEST_P(KdaPrefillPlaces, LengthsAroundChunks) {
  prefill_and_check(KdaProblem({}, Tokens::varlen, {15, 16, 31, 0, 33}, 7), place());
  prefill_and_check(KdaProblem({}, Tokens::dense, {18, 18}, 3), place());
  if (on_simt(place())) return;
  for (const std::int64_t tokens : {63, 65, 100, 200, 500, 1024}) {
    prefill_and_check(KdaProblem({.k = 128, .v = 64}, Tokens::dense, {tokens}, 2), place());
  }
  // As flash-linear-attention packs sequences in its tests.
  for (const Lengths& lengths : {Lengths{15}, Lengths{256, 244, 500}, Lengths{15, 85, 200, 900}}) {
    prefill_and_check(KdaProblem({}, Tokens::varlen, lengths, 6), place());
  }
}

// Decays of nothing, of almost everything, of both in turn from token to token, and of all there
// is: neither an infinity nor a NaN, and as exact as ever.
TEST_P(KdaPrefillPlaces, GatesAtTheirExtremes) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  for (const auto& [even, odd] : std::vector<std::pair<float, float>>{{0.0F, 0.0F},
                                                                      {-5.0F, -5.0F},
                                                                      {-20.0F, -20.0F},
                                                                      {-90.0F, -0.001F},
                                                                      {-1e4F, -1e-6F},
                                                                      {-kInfinity, 0.0F}}) {
    SCOPED_TRACE(testing::Message() << even << " and " << odd);
    KdaProblem p({.gate_io = f32, .gate = KdaGate::precomputed}, Tokens::dense, {37}, 2);
    std::int64_t element = 0;
    p.a.fill([&, e = even, o = odd] {
      const std::int64_t token = element++ / (p.shape.value_heads * p.shape.k);
      return token % 2 == 0 ? e : o;
    });
    prefill_and_check(p, place());
  }
  KdaProblem bound({.gate = KdaGate::lower_bound}, Tokens::dense, {37}, 2);
  bound.a.fill([] { return 30.0F; });
  prefill_and_check(bound, place());
  KdaProblem softplus({}, Tokens::dense, {37}, 2);  // e^2.7 softplus(30) per token
  softplus.a.fill([] { return 30.0F; });
  prefill_and_check(softplus, place());
}

TEST_P(KdaPrefillPlaces, InactiveSequencesAreZeroAndTouchNothing) {
  KdaProblem p({}, Tokens::varlen, {17, 18, 2}, 4);
  p.slots = {-1, 2, 4};
  prefill_and_check(p, place());
}

// `from` with zeros behind the elements of its last dimensions, as far as `to` is wider.
void pad(const StridedTensor& from, StridedTensor& to) {
  const std::vector<double> values = from.values();
  const std::vector<std::int64_t> narrow = from.shape(), wide = to.shape();
  std::int64_t element = 0;
  to.fill([&] {
    std::int64_t at = 0, left = element++, step = 1;
    for (std::size_t dim = wide.size(); dim-- > 0;) {
      const std::int64_t index = left % wide[dim];
      if (index >= narrow[dim]) return 0.0F;
      at += index * step;
      step *= narrow[dim];
      left /= wide[dim];
    }
    return static_cast<float>(values[static_cast<std::size_t>(at)]);
  });
}

// Other head sizes are served with zeros behind them, and a scale that is given.
TEST_P(KdaPrefillPlaces, HeadsOfOtherSizesArePaddedWithZeros) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> sizes = {{60, 64}, {100, 128}};
  const auto& [narrow, wide] = sizes[on_simt(place()) ? 0 : 1];
  const KdaProblem small({.k = narrow, .v = narrow}, Tokens::dense, {20}, 2);
  KdaProblem padded({.k = wide, .v = wide}, Tokens::dense, {20}, 2);
  padded.numbers.scale = 1 / std::sqrt(static_cast<float>(narrow));
  pad(small.q, padded.q);
  pad(small.k, padded.k);
  pad(small.v, padded.v);
  pad(small.a, padded.a);
  pad(small.b, padded.b);
  pad(small.a_log, padded.a_log);
  pad(small.dt_bias, padded.dt_bias);
  pad(small.state, padded.state);
  const KdaExpected of_small = expected_of(small), of_padded = expected_of(padded);
  for (std::size_t i = 0; i < of_padded.out.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(wide);
    const std::size_t column = i % static_cast<std::size_t>(wide);
    const bool behind = column >= static_cast<std::size_t>(narrow);
    const std::size_t at = row * static_cast<std::size_t>(narrow) + column;
    EXPECT_NEAR(of_padded.out[i], behind ? 0 : of_small.out[at], 1e-9);
  }
  prefill_and_check(padded, place());
}

std::string name_of_place(const testing::TestParamInfo<int>& info) {
  const auto& [implementation, arch] = kPlaces[static_cast<std::size_t>(info.param)];
  std::string name = implementation + "_" + arch;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Every, KdaPrefillPlaces,
                         testing::Range(0, static_cast<int>(kPlaces.size())), name_of_place);

}  // namespace
}  // namespace kiln::test
