// SPDX-License-Identifier: Apache-2.0
// Everything that attention_decode can be asked for, on the CPU and, as the GPU kernels, on the
// SIMT machine, against the op's fp64 reference; and variants of a caller's own.
#include <gtest/gtest.h>

#include <algorithm>

#include "kiln/attention_decode.h"
#include "runtime/reference/trial.h"
#include "tests/runtime/attention_problem.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using Values = std::vector<NameValue>;

// Calls that one kernel serves.
struct DecodeCase {
  std::string name;
  const char* implementation;  // of the GPU
  Values shape;
  std::vector<Values> calls;
  const char* simt = "simt";
};
void PrintTo(const DecodeCase& one, std::ostream* out) {
  *out << one.name;
}

// `more` in place of what has the same name.
Values with(Values values, const Values& more) {
  std::erase_if(values, [&](const NameValue& value) {
    return std::any_of(more.begin(), more.end(),
                       [&](const NameValue& other) { return other.first == value.first; });
  });
  values.insert(values.end(), more.begin(), more.end());
  return values;
}
Values shape_of(const char* size, const Values& more = {}) {
  return with({{"Hq", "4"}, {"Hkv", "2"}, {"D_qk", size}, {"D_vo", size}}, more);
}

const Values kPlain = {{"batch", "2"}, {"length", "100"}};
const Values kRagged = {{"batch", "3"}, {"length", "100"}, {"ragged", "true"}, {"splits", "3"}};
const Values kCsr = with(kRagged, {{"csr", "true"}, {"sink", "true"}, {"alibi", "true"}});
const Values kHnd = with(kPlain, {{"hnd", "true"}, {"page_size", "1"}, {"window", "40"}});
const Values kTokens = with(kRagged, {{"q_tokens", "3"}, {"page_size", "256"}, {"scaled", "true"}});
const Values kFixed = {
    {"batch", "2"}, {"length", "200"}, {"ragged", "true"}, {"split_tokens", "64"}, {"window", "0"}};
const std::vector<Values> kAll = {kPlain, kCsr, kHnd, kTokens, kFixed};

std::vector<DecodeCase> cases() {
  constexpr auto kMatrix = "attention_decode/matrix";
  constexpr auto kLatent = "attention_decode/latent";
  constexpr auto kSplit = "attention_decode/split_kv";
  constexpr auto kChecked = "simt:checked";
  const auto mla = [](const char* heads, const char* d_qk, const char* d_vo, Values more = {}) {
    return with({{"Hq", heads}, {"Hkv", "1"}, {"D_qk", d_qk}, {"D_vo", d_vo}, {"v_in_k", "true"}},
                more);
  };
  const auto variant = [](const char* name, const Values& more = {}) {
    return shape_of("64", with({{"variant", name}}, more));
  };
  const Values short_call = {{"batch", "1"}, {"length", "70"}, {"splits", "2"}};
  const Values f16 = {{"io", "f16"}, {"kv", "f16"}}, f16_e5m2 = {{"io", "f16"}, {"kv", "e5m2"}};
  const Values f32_e5m2 = {{"io", "f32"}, {"kv", "e5m2"}}, capped = {{"softcap", "true"}};
  return {
      {"matrix_64", kMatrix, shape_of("64"), {kCsr, kTokens}, kChecked},
      {"matrix_128", kMatrix, shape_of("128"), kAll},
      {"matrix_96_softcap", kMatrix, shape_of("96", capped), {kCsr}},
      {"matrix_192", kMatrix, shape_of("192"), {kTokens}},
      {"matrix_256", kMatrix, shape_of("256"), {kRagged}},
      {"matrix_f16", kMatrix, shape_of("64", f16), kAll},
      {"matrix_e4m3", kMatrix, shape_of("64", {{"kv", "e4m3"}}), kAll},
      {"matrix_e5m2_f16", kMatrix, shape_of("128", f16_e5m2), {kTokens}},
      {"matrix_warp64", kMatrix, shape_of("64"), kAll, "simt:warp64"},
      {"matrix_many_heads", kMatrix, shape_of("64", {{"Hq", "34"}, {"Hkv", "1"}}), {kTokens}},
      {"latent_128_heads", kLatent, mla("128", "576", "512"), {short_call}},
      {"latent_small", kLatent, mla("16", "96", "64"), {kRagged, kTokens, kCsr}},
      {"latent_warp64", kLatent, mla("20", "96", "64"), {kTokens}, "simt:warp64"},
      {"split_256_e5m2", kSplit, shape_of("256", f32_e5m2), {kCsr, kTokens}},
      {"split_96_f32", kSplit, shape_of("96", with(capped, {{"io", "f32"}})), kAll},
      {"split_192", kSplit, shape_of("192", {{"io", "f32"}, {"Hq", "18"}}), {kTokens}},
      {"sigmoid", kSplit, variant("sigmoid"), {kPlain, kHnd, kTokens, kFixed}},
      {"sigmoid_warp64", kSplit, variant("sigmoid", capped), {kTokens}, "simt:warp64:checked"},
      {"sink", kSplit, variant("sink"), kAll},
      {"document", kSplit, variant("document"), kAll},
      {"document_mla", kSplit, mla("4", "96", "64", {{"variant", "document"}}), {kRagged}},
      {"logits_dump", kSplit, variant("logits_dump", {{"Hq", "18"}}), {kCsr, kTokens}, kChecked}};
}

class AttentionDecodeSemantics : public test::LlvmTest,
                                 public testing::WithParamInterface<DecodeCase> {
 protected:
  static void run(const char* arch, const char* implementation) {
    const Op& op = **find_op("attention_decode");
    for (const Values& call : GetParam().calls) {
      const auto arguments = parse_arguments(op, with(GetParam().shape, call));
      ASSERT_TRUE(arguments) << arguments.error().message;
      SCOPED_TRACE(arch + (": " + arguments->shape.text() + " " + arguments->call.text()));
      const auto trial = make_trial(llvm().runtime(), op, *arguments, *Arch::parse(arch), 3);
      ASSERT_TRUE(trial) << trial.error().message;
      const auto launched = (*trial)->launch();
      ASSERT_TRUE(launched) << launched.error().message << launched.error().log;
      EXPECT_EQ((*trial)->selection().implementation->name, implementation);
      const auto errors = (*trial)->compare();
      ASSERT_TRUE(errors) << errors.error().message;
      for (const OutputError& error : *errors) {
        EXPECT_TRUE(error.passed()) << error.name << " is off by " << error.abs_max << ", "
                                    << error.bound_ratio << " of " << error.allowed;
      }
    }
  }
};

TEST_P(AttentionDecodeSemantics, OnTheCpu) {
  run("cpu", "attention_decode/cpu");
}
TEST_P(AttentionDecodeSemantics, OnTheSimtMachine) {
  run(GetParam().simt, GetParam().implementation);
}

INSTANTIATE_TEST_SUITE_P(Cases, AttentionDecodeSemantics, testing::ValuesIn(cases()),
                         [](const auto& each) { return each.param.name; });

class AttentionDecodeVariant : public testing::Test {
 protected:
  void SetUp() override {
    if (!llvm.available()) GTEST_SKIP() << llvm.why_not();
  }
  Error error_of(const AttentionDecodeArgs& args) {
    const auto done = attention_decode(llvm.runtime(), args);
    return done ? Error{} : done.error();
  }
  test::LlvmRuntime llvm;
};

// A mask that hides all but the last keys is a window.
TEST_F(AttentionDecodeVariant, ACallersOwnReadsItsTensorsAndScalars) {
  AttentionVariant variant;
  variant.name = "near";
  variant.mask = "kv_len - qo_len + qo_idx - kv_idx <= reach[batch_idx] - less";
  variant.tensors = {{"reach", "i32"}};
  variant.scalars = {{"less", "i32"}};
  const std::vector<test::Sequence> sequences = {{1, 41}, {2, 3}, {3, 16}};
  test::Problem windowed(sequences), own(sequences);
  windowed.window_left = 7;
  ASSERT_EQ(error_of(windowed.args()).message, "");
  std::vector<std::int32_t> reach = {9, 9, 9};
  test::View view{{3}, {}};
  const DLTensor tensor = view.dl(reach.data(), test::kI32);
  const double less = 2;
  AttentionDecodeArgs args = own.args();
  args.variant = {*add_attention_variant(variant), std::span(&tensor, 1), std::span(&less, 1)};
  ASSERT_EQ(error_of(args).message, "");
  EXPECT_EQ(own.out, windowed.out);
  for (std::size_t i = 0; i < own.lse.size(); ++i) EXPECT_NEAR(own.lse[i], windowed.lse[i], 1e-6);
  args.variant.tensors = {};
  EXPECT_EQ(error_of(args).message,
            "attention variant 'near' takes 1 tensors and 1 scalars; 0 and 1 are given");
}

TEST_F(AttentionDecodeVariant, ABrokenOneIsReportedByTheCallWithItsPlace) {
  AttentionVariant variant;
  variant.name = "broken";
  variant.logits = "logit *\n  nothing";
  test::Problem problem({{1, 9}});
  AttentionDecodeArgs args = problem.args();
  args.variant.variant = *add_attention_variant(variant);
  const Error error = error_of(args);
  EXPECT_EQ(error.code, ErrorCode::compile_failed);
  EXPECT_NE(error.message.find(": broken.logits:2:3: "), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("variant=broken@"), std::string::npos) << error.message;
}

TEST_F(AttentionDecodeVariant, WithoutSoftmaxThereIsNoLseAndNoSink) {
  test::Problem problem({{1, 9}});
  problem.sinks = {0, 0, 0, 0};
  AttentionDecodeArgs args = problem.args();
  const double bias = 0;
  args.variant = {find_attention_variant("sigmoid"), {}, std::span(&bias, 1)};
  EXPECT_NE(error_of(args).message.find("'lse', and a variant without softmax"), std::string::npos);
  args.lse.reset();
  EXPECT_NE(error_of(args).message.find("'sinks', and a variant"), std::string::npos);
  args.sinks.reset();
  EXPECT_EQ(error_of(args).message, "");
}

}  // namespace
}  // namespace kiln
