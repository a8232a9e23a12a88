// SPDX-License-Identifier: Apache-2.0
// Bad input to each function of the C++ API that is no op (those: bad_tensors_test.cpp): its status
// and its words, no crash, and nothing lost.
#include <gtest/gtest.h>

#include <array>

#include "tests/runtime/embed/sample_calls.h"
#include "tests/runtime/embed/stub_runtime.h"

namespace kiln::test {
namespace {

// Of a function that should have failed.
template <class T>
Error error_of(const Result<T>& result) {
  return result ? Error{ErrorCode::internal, "it succeeded", ""} : result.error();
}

class BadInputTest : public testing::Test {
 protected:
  BadInputTest() { stub_.store_kernels(op_, good_); }

  struct Case {
    const char* what;
    Error error;
    const char* says;
    ErrorCode code = ErrorCode::invalid_argument;
  };
  static void expect_refused(const std::vector<Case>& cases) {
    for (const Case& each : cases) {
      EXPECT_EQ(each.error.code, each.code) << each.what << ": " << each.error.message;
      EXPECT_NE(each.error.message.find(each.says), std::string::npos)
          << each.what << ": " << each.error.message;
    }
  }
  void expect_nothing_lost() {
    SampleTensors tensors({kDLCUDA, 0});
    const auto called = kda_decode(*stub_, sample_kda_decode(tensors, 4), {});
    EXPECT_TRUE(called) << called.error().message;
  }

  const Op& op_ = **find_op("kda_decode");
  const Shape good_ = sample_shape(op_);
  const Arch arch_ = *Arch::parse("sm_90a");
  StubRuntime stub_{KILN_QUIET_CUDA};
};

TEST_F(BadInputTest, Words) {
  using Given = std::vector<NameValue>;
  Options no_jobs, unknown_name;
  no_jobs.jobs = 0;
  unknown_name.disabled_implementations = {"kda_decode/quick"};
  expect_refused({
      {"an op", error_of(find_op("kda_decod")), "kda_decode"},
      {"no op", error_of(find_op("")), "''"},
      {"an arch", error_of(Arch::parse("sm_")), "sm_"},
      {"no arch", error_of(Arch::parse("")), "arch"},
      {"a name", error_of(parse_arguments(op_, Given{{"HEADS", "1"}})), "'HEADS'"},
      {"a value", error_of(parse_arguments(op_, Given{{"H", "many"}})), "H=many"},
      {"a name twice", error_of(parse_arguments(op_, Given{{"H", "1"}, {"H", "2"}})), "twice"},
      {"a size", error_of(parse_size("--cap", "12Q")), "--cap"},
      {"a plan", error_of(parse_plan("kda_decode\n", "my.plan")), "my.plan"},
      {"a plan's file", error_of(read_plan("/no/such.plan")), "/no/such.plan"},
      {"jobs", error_of(Runtime::create(no_jobs)), "Options::jobs is 0"},
      {"a disabled name", error_of(Runtime::create(unknown_name)), "kda_decode/quick"},
  });
}

TEST_F(BadInputTest, ShapesAndSelections) {
  Shape part, typed = good_, extra = good_;
  part.set("H", std::int64_t{8});
  typed.set("HV", std::string("eight"));
  extra.set("NOPE", std::int64_t{1});
  const Op copy = op_;
  const Selection good = take(stub_->select(op_, good_, arch_));
  const Implementation& implementation = *good.implementation;
  std::vector<Case> cases = {
      {"no selection", error_of(stub_->kernel(Selection{}, good_, arch_)), "without an op"},
      {"a copied op", error_of(stub_->ready({&copy, good_, {kDLCUDA, 0}, {}})), "find_op"},
      {"a request of a copied op", error_of(stub_->prefetch({&copy, good_, {kDLCUDA, 0}, {}})),
       "find_op"}};
  const std::pair<const Shape*, const char*> shapes[] = {
      {&part, "lacks HV"}, {&typed, "HV=eight"}, {&extra, "NOPE=1"}};
  for (const auto& [shape, says] : shapes) {
    cases.push_back({"select", error_of(stub_->select(op_, *shape, arch_)), says});
    cases.push_back({"kernel", error_of(stub_->kernel(good, *shape, arch_)), says});
    cases.push_back({"make_input", error_of(make_input(op_, implementation, *shape, arch_)), says});
    const auto rungs = stub_->chain(op_, *shape, arch_);
    ASSERT_EQ(rungs.size(), op_.implementations.size());
    for (const Rung& rung : rungs) {
      EXPECT_NE(rung.can_serve.reason().find(says), std::string::npos) << rung.can_serve.reason();
    }
  }
  expect_refused(cases);
  expect_nothing_lost();
}

TEST_F(BadInputTest, Templates) {
  const Selection good = take(stub_->select(op_, good_, arch_));
  const CompileInput whole = take(make_input(op_, *good.implementation, good_, arch_));
  CompileInput nameless = whole, timed = whole, reading = whole;
  nameless.name_expressions.clear();
  timed.source.text += "const char* when = __DATE__;\n";
  reading.options.emplace_back("-I/usr/include");
  std::vector<Case> cases;
  const std::pair<const CompileInput*, const char*> inputs[] = {
      {&nameless, "name expression"}, {&timed, "__DATE__"}, {&reading, "-I/usr/include"}};
  for (const auto& [input, says] : inputs) {
    cases.push_back({"prepare", error_of(stub_->prepare(*input)), says});
    cases.push_back({"explain", error_of(stub_->explain(*input)), says});
    cases.push_back({"kernel", error_of(stub_->kernel(*input)), says});
  }
  cases.push_back({"a device", error_of(stub_->kernel(whole, 99)), "99"});
  cases.push_back({"a negative device", error_of(stub_->kernel(whole, -1)), "-1"});
  const auto kernel = take(stub_->kernel(whole));
  const int params = 0;
  LaunchStep beyond;
  beyond.entry = 99;
  cases.push_back(
      {"an entry", error_of(kernel->launch({beyond}, &params, sizeof params, {})), "entry 99"});
  cases.push_back({"no parameters", error_of(kernel->launch({LaunchStep{}}, nullptr, 0, {})),
                   "null parameters"});
  expect_refused(cases);
  expect_nothing_lost();
}

TEST_F(BadInputTest, Drivers) {
  std::array<char, 4> bytes{};
  for (const char* name : {"sm_90a", "cpu", "simt"}) {
    SCOPED_TRACE(name);
    Driver& driver = *take(stub_->driver(*Arch::parse(name)));
    for (const int index : {-1, 99}) {
      const std::string number = std::to_string(index);
      const char* const says = number.c_str();
      expect_refused({{"load", error_of(driver.load(index, Artifact{})), says},
                      {"allocate", error_of(driver.allocate(index, 1)), says},
                      {"copy_to_device",
                       error_of(driver.copy_to_device(index, bytes.data(), bytes.data(), 4)), says},
                      {"copy_to_host",
                       error_of(driver.copy_to_host(index, bytes.data(), bytes.data(), 4)), says},
                      {"synchronize", error_of(driver.synchronize(index, {})), says},
                      {"is_capturing", error_of(driver.is_capturing(index, {})), says}});
    }
    Artifact foreign;
    foreign.format = CodeFormat::hsaco;
    expect_refused({{"code of another kind", error_of(driver.load(0, foreign)), "hsaco"}});
    if (driver.name() == "cuda") continue;  // the stub gives whatever it is asked for
    expect_refused({{"too much memory", error_of(driver.allocate(0, SIZE_MAX)), "cannot allocate",
                     ErrorCode::out_of_memory}});
  }
  expect_nothing_lost();
}

TEST_F(BadInputTest, Workspaces) {
  SampleTensors tensors({kDLCUDA, 0});
  KdaPrefillArgs prefill = sample_kda_prefill(tensors, 64);
  AttentionDecodeArgs decode = sample_attention_decode(tensors, 4);
  RouterGemmArgs router = sample_router_gemm(tensors, 4);
  prefill.q.shape = decode.q.shape = router.a.shape = nullptr;
  const QkRmsnormArgs norm = sample_qk_rmsnorm(tensors, 4);
  DLTensor shapeless = norm.q;
  shapeless.shape = nullptr;
  KdaPrefillArgs huge = sample_kda_prefill(tensors, 64);
  std::int64_t sizes[] = {INT64_MAX, INT64_MAX, 128};
  huge.q.shape = huge.v.shape = sizes;
  expect_refused({
      {"kda_prefill", error_of(kda_prefill_workspace_floats(prefill)), "'q'"},
      {"kda_prefill, huge", error_of(kda_prefill_workspace_floats(huge)), "a dimension of"},
      {"attention_decode", error_of(attention_decode_workspace_floats(decode)), "'q'"},
      {"router_gemm", error_of(router_gemm_workspace_floats(router)), "'a'"},
      {"fused_qk_rmsnorm",
       error_of(
           fused_qk_rmsnorm(*stub_, shapeless, norm.q_weight, 1e-6F, norm.k, norm.k_weight, 1e-6F)),
       "'q'"},
  });
}

TEST(BadInputStoreTest, AStoreThatPolicyForbidsIsUnavailable) {
  Options options;
  options.cache_policy = CachePolicy::off;
  const auto runtime = take(Runtime::create(options));
  EXPECT_EQ(error_of(runtime->store()).code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace kiln::test
