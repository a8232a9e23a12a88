// SPDX-License-Identifier: Apache-2.0
// Everything that attention_prefill can be asked for, on the CPU and, as the GPU kernels, on the
// SIMT machine with every access checked, against the op's fp64 reference; and variants of a
// caller's own through the public API.
#include <gtest/gtest.h>

#include "kiln/attention_prefill.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/trial.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using Values = std::vector<NameValue>;

// Calls that one kernel serves.
struct SemanticsCase {
  std::string name;
  Values shape;
  std::vector<Values> calls;
  const char* simt = "simt:checked";  // the machine that runs the GPU kernel
};

void PrintTo(const SemanticsCase& one, std::ostream* out) {
  *out << one.name;
}

const Values kRagged = {
    {"batch", "5"}, {"q_len", "40"}, {"kv_len", "70"}, {"ragged", "true"}, {"lse", "true"}};
Values with(Values values, const Values& more) {
  values.insert(values.end(), more.begin(), more.end());
  return values;
}
Values shape_of(const char* d_qk, const char* d_vo, const Values& more = {}) {
  return with({{"Hq", "4"}, {"Hkv", "2"}, {"D_qk", d_qk}, {"D_vo", d_vo}}, more);
}

std::vector<SemanticsCase> cases() {
  const std::vector<Values> all_calls = {
      kRagged,
      with(kRagged, {{"window_left", "0"}}),
      with(kRagged, {{"window_left", "9"}, {"sinks", "true"}, {"softcap", "2"}}),
      with(kRagged, {{"mask", "true"}}),
      with(kRagged, {{"mask", "true"}, {"sinks", "true"}, {"dense", "true"}}),
      {{"batch", "2"}, {"q_len", "33"}, {"kv_len", "33"}, {"dense", "true"}}};
  const std::vector<Values> windows = {
      kRagged, with(kRagged, {{"window_left", "3"}, {"window_right", "5"}, {"page_size", "8"}}),
      with(kRagged, {{"window_right", "0"}, {"mask", "true"}, {"page_size", "1"}})};
  return {{"causal", shape_of("64", "64"), all_calls},
          {"whole_f16_paged",
           shape_of("72", "80", {{"causal", "false"}, {"io", "f16"}, {"paged", "true"}}), windows},
          {"odd_heads", shape_of("7", "100"), {kRagged}, "simt:warp64:checked"},
          {"sizes_192_128", shape_of("192", "128"), {kRagged}},
          {"sizes_256", shape_of("256", "256", {{"io", "f16"}}), {kRagged}},
          {"sigmoid", shape_of("64", "64", {{"variant", "sigmoid"}}), {kRagged}},
          {"sink",
           shape_of("64", "64", {{"variant", "sink"}}),
           {kRagged, with(kRagged, {{"sinks", "true"}})}},
          {"document",
           shape_of("64", "64", {{"variant", "document"}, {"causal", "false"}}),
           {kRagged, with(kRagged, {{"dense", "true"}, {"mask", "true"}})}},
          {"logits_dump",
           shape_of("64", "64", {{"variant", "logits_dump"}}),
           {with(kRagged, {{"softcap", "4"}, {"window_left", "20"}})}}};
}

class AttentionPrefillSemantics : public test::LlvmTest,
                                  public testing::WithParamInterface<SemanticsCase> {
 protected:
  static void run(const char* arch, const Values& shape, const Values& call) {
    const Op& op = **find_op("attention_prefill");
    const auto arguments = parse_arguments(op, with(shape, call));
    ASSERT_TRUE(arguments) << arguments.error().message;
    SCOPED_TRACE(arch + (": " + arguments->shape.text() + " " + arguments->call.text()));
    const auto trial = make_trial(llvm().runtime(), op, *arguments, *Arch::parse(arch), 3);
    ASSERT_TRUE(trial) << trial.error().message;
    const auto launched = (*trial)->launch();
    ASSERT_TRUE(launched) << launched.error().message << launched.error().log;
    const auto errors = (*trial)->compare();
    ASSERT_TRUE(errors) << errors.error().message;
    for (const OutputError& error : *errors) {
      EXPECT_TRUE(error.passed()) << error.name << " is off by " << error.abs_max << ", "
                                  << error.bound_ratio << " of " << error.allowed;
    }
  }
};

TEST_P(AttentionPrefillSemantics, OnTheCpu) {
  for (const Values& call : GetParam().calls) run("cpu", GetParam().shape, call);
}
TEST_P(AttentionPrefillSemantics, OnTheSimtMachine) {
  for (const Values& call : GetParam().calls) {
    run(GetParam().simt, GetParam().shape, call);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AttentionPrefillSemantics, testing::ValuesIn(cases()),
                         [](const auto& each) { return each.param.name; });

// One dense sequence, two heads, through the public API.
struct Call {
  Call() { fill(); }
  void fill() {
    Random random(5);
    for (test::StridedTensor* tensor : {&q, &k, &v}) {
      tensor->fill([&] { return random.uniform(-2, 2); });
    }
  }
  AttentionPrefillArgs args() {
    AttentionPrefillArgs args{};
    args.q = q.dl();
    args.k = k.dl();
    args.v = v.dl();
    args.out = out.dl();
    args.causal = false;
    return args;
  }
  test::StridedTensor q{ElementType::bf16, {1, 5, 2, 16}}, k{ElementType::bf16, {1, 9, 2, 16}},
      v{ElementType::bf16, {1, 9, 2, 16}}, out{ElementType::bf16, {1, 5, 2, 16}},
      other{ElementType::bf16, {1, 5, 2, 16}}, bias{ElementType::f32, {2, 9}};
};

class AttentionVariantTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!llvm.available()) GTEST_SKIP() << llvm.why_not();
  }
  Error error_of(const AttentionPrefillArgs& args) {
    const auto done = attention_prefill(llvm.runtime(), args);
    return done ? Error{} : done.error();
  }
  test::LlvmRuntime llvm;
};

// A bias of minus infinity is a mask: the result is that of fewer keys.
TEST_F(AttentionVariantTest, ACallersOwnReadsItsTensorsAndScalars) {
  AttentionVariant variant;
  variant.name = "biased";
  variant.logits = "logit + strength * bias[qo_head_idx * width + kv_idx]";
  variant.tensors = {{"bias", "f32"}};
  variant.scalars = {{"strength", "f32"}, {"width", "i32"}};
  Call call;
  std::int64_t i = 0;
  call.bias.fill([&] { return i++ % 9 < 4 ? 0.0F : -1e30F; });
  AttentionPrefillArgs args = call.args();
  const DLTensor bias = call.bias.dl();
  const double scalars[] = {2.0, 9};
  args.variant = {*add_attention_variant(variant), std::span(&bias, 1), scalars};
  ASSERT_EQ(error_of(args).message, "");

  AttentionPrefillArgs fewer = call.args();
  call.k.shape()[1] = call.v.shape()[1] = 4;
  fewer.out = call.other.dl();
  ASSERT_EQ(error_of(fewer).message, "");
  EXPECT_EQ(call.out.memory(), call.other.memory());

  call.k.shape()[1] = call.v.shape()[1] = 9;
  args.variant.tensors = {};
  EXPECT_EQ(error_of(args).message,
            "attention variant 'biased' takes 1 tensors and 2 scalars; 0 and 2 are given");
  args.variant.tensors = std::span(&args.q, 1);
  EXPECT_NE(error_of(args).message.find("tensor 'bias' "), std::string::npos);
  args.variant.tensors = std::span(&bias, 1);
  const double fraction[] = {2.0, 0.5};
  args.variant.scalars = fraction;
  EXPECT_EQ(error_of(args).message,
            "attention variant 'biased' takes an i32 as 'width', which 0.5 is not");
}

TEST_F(AttentionVariantTest, ABrokenOneIsReportedByTheCallWithItsPlace) {
  AttentionVariant variant;
  variant.name = "broken";
  variant.mask = "kv_idx >\n  qo_index";
  Call call;
  AttentionPrefillArgs args = call.args();
  args.variant.variant = *add_attention_variant(variant);
  const Error error = error_of(args);
  EXPECT_EQ(error.code, ErrorCode::compile_failed);
  EXPECT_NE(error.message.find(": broken.mask:2:3: "), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("variant=broken@"), std::string::npos) << error.message;
}

TEST_F(AttentionVariantTest, WithoutSoftmaxThereIsNoLseAndNoSink) {
  Call call;
  AttentionPrefillArgs args = call.args();
  const double bias[] = {0};
  args.variant = {find_attention_variant("sigmoid"), {}, bias};
  test::StridedTensor lse(ElementType::f32, {1, 5, 2}), sinks(ElementType::f32, {2});
  args.lse = lse.dl();
  EXPECT_NE(error_of(args).message.find("a variant without softmax"), std::string::npos);
  args.lse.reset();
  args.sinks = sinks.dl();
  EXPECT_NE(error_of(args).message.find("a variant without softmax"), std::string::npos);
}

}  // namespace
}  // namespace kiln
