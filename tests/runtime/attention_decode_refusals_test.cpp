// SPDX-License-Identifier: Apache-2.0
// What the public attention_decode says of tensors that it cannot take.
#include <gtest/gtest.h>

#include <functional>

#include "kiln/attention_decode.h"
#include "runtime/reference/trial.h"
#include "tests/runtime/attention_problem.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::kF32;
using test::Problem;

class AttentionDecodeRefusals : public test::LlvmTest {};

TEST_F(AttentionDecodeRefusals, SaysWhatDoesNotFit) {
  struct Case {
    std::function<void(AttentionDecodeArgs&, Problem&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](auto& args, auto&) { args.q.data = nullptr; }, "tensor 'q' has no data"},
      {[](auto& args, auto&) { args.q.ndim = 2; }, "tensor 'q' has 2 dimensions, not 3"},
      {[](auto& args, auto&) { args.k_cache.dtype = kF32; },
       "'k_cache' holds f32, not one of bf16, f16, e4m3, e5m2"},
      {[](auto& args, auto&) { args.k_cache.ndim = 2; }, "'k_cache' has 2 dimensions, not 4"},
      {[](auto&, auto& problem) { problem.v.view().shape[1] = 4; }, "'v_cache' has shape [19, 4,"},
      {[](auto&, auto& problem) { problem.k.view().shape[2] = 3; },
       "4 query heads on 3 key/value heads"},
      {[](auto&, auto& problem) { problem.k.view().shape[1] = 0; }, "pages of 0 tokens"},
      {[](auto& args, auto&) {
         args.block_table.dtype = {kDLInt, 64, 1};
       },
       "tensor 'block_table' holds i64, not i32"},
      {[](auto&, auto& problem) { problem.lengths_view.strides = {2}; },
       "tensor 'seq_lens' has stride 2"},
      {[](auto&, auto& problem) {
         problem.out_view.strides = {256, 1, 4};
       },
       "tensor 'out' has stride 4 in its last dimension"},
      {[](auto& args, auto&) {
         args.lse->device = {kDLCUDA, 0};
       },
       "tensor 'lse' is on CUDA device 0"},
      {[](auto& args, auto&) { args.splits = -1; }, "splits is -1; 0 (chosen here) to 65535"},
      {[](auto& args, auto&) { args.splits = 3; },
       "3 splits need a workspace of 2340 floats, and there is none"},
      {[](auto& args, auto&) { args.split_tokens = args.splits = 1; },
       "splits is 1 and split_tokens 1; one of them must be 0"},
      {[](auto& args, auto&) { args.softcap = -1; }, "softcap is -1"},
      {[](auto& args, auto&) { args.window_left = -1; }, "window_left is -1"},
      {[](auto& args, auto&) { args.indices = args.seq_lens; }, "go with indptr, which is absent"},
      {[](auto& args, auto&) { args.indptr = args.seq_lens; }, "one of which is absent"},
      {[](auto& args, auto&) { args.indptr = args.indices = args.last_page_lens = args.seq_lens; },
       "not by both"},
      {[](auto& args, auto&) { args.sinks = args.seq_lens; }, "tensor 'sinks' holds i32, not f32"},
      {[](auto& args, auto&) { args.k_scale = args.lse; },
       "tensor 'k_scale' has shape [3, 4], not"},
      {[](auto& args, auto&) {
         args.v_cache.reset();
         args.scale.reset();
       },
       "scale is missing"},
      {[](auto& args, auto& problem) {
         args.v_cache.reset();
         problem.out_view.shape[2] = 128;
       },
       "the first 128 elements of keys that have only 64"},
  };
  for (const Case& one : cases) {
    Problem problem({{1, 41}, {2, 3}, {3, 16}});
    AttentionDecodeArgs args = problem.args();
    one.spoil(args, problem);
    // Views that the case gave strides to.
    if (!problem.lengths_view.strides.empty()) {
      args.seq_lens.strides = problem.lengths_view.strides.data();
    }
    if (!problem.out_view.strides.empty()) args.out.strides = problem.out_view.strides.data();
    const auto done = attention_decode(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

TEST_F(AttentionDecodeRefusals, AHeadSizeThatNobodyBuildsIsUnavailableWithTheReason) {
  Problem problem({{1, 41}, {2, 3}, {3, 16}}, {.d_qk = 100, .d_vo = 64});
  const auto done = attention_decode(llvm().runtime(), problem.args());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::unavailable);
  EXPECT_NE(done.error().message.find("D_qk=100"), std::string::npos) << done.error().message;
}

TEST_F(AttentionDecodeRefusals, ATrialSeesAnOutputThatNobodyWrote) {
  const Op& op = **find_op("attention_decode");
  const std::vector<NameValue> given = {{"batch", "2"}, {"length", "20"}};
  const auto arguments = parse_arguments(op, given);
  const auto trial = make_trial(llvm().runtime(), op, *arguments, *Arch::parse("cpu"), 1);
  ASSERT_TRUE(trial) << trial.error().message;
  ASSERT_TRUE((*trial)->reset());
  const auto errors = (*trial)->compare();
  ASSERT_TRUE(errors);
  for (const OutputError& error : *errors) EXPECT_FALSE(error.passed()) << error.name;
}

}  // namespace
}  // namespace kiln
