// SPDX-License-Identifier: Apache-2.0
// Every GPU implementation of every op of the registry on the SIMT machine against the op's fp64
// reference: checked at small sizes, unchecked in the shapes of real models, with warps of 32 and,
// where it is written for AMD, 64. What is added to the registry is run unasked.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kiln/simt.h"
#include "runtime/reference/trial.h"
#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

enum class Size { small, real };

struct SimtCase {
  const Op* op;
  const Implementation* implementation;
  std::string arch;
  Size size;
};

void PrintTo(const SimtCase& one, std::ostream* to) {
  *to << one.implementation->name << " " << one.arch;
}

using Values = std::vector<NameValue>;
struct Sizes {
  Values small;
  Values real;
};

// What makes an op, or one of its implementations, small; and what makes calls of its usual shape,
// a real model's, short enough for a test and still long enough to leave the small paths. Where an
// op is not named here, its integer call arguments are made small.
const std::map<std::string, Sizes> kSizes = {
    {"kda_decode",
     {{{"H", "2"}, {"HV", "4"}, {"batch", "3"}, {"pool", "4"}}, {{"batch", "5"}, {"pool", "9"}}}},
    {"kda_prefill",
     {{{"H", "1"}, {"HV", "2"}, {"batch", "2"}, {"tokens", "5"}},
      {{"batch", "2"}, {"tokens", "18"}, {"ragged", "true"}}}},
    {"kda_prefill/chunk_parallel",
     {{{"H", "1"}, {"HV", "2"}, {"batch", "2"}, {"tokens", "20"}},
      {{"batch", "2"}, {"tokens", "40"}, {"ragged", "true"}}}},
    {"attention_decode",
     {{{"Hq", "4"}, {"Hkv", "2"}, {"batch", "2"}, {"length", "37"}},
      {{"batch", "3"}, {"length", "600"}, {"ragged", "true"}}}},
    {"attention_decode/latent",
     {{{"Hq", "8"},
       {"Hkv", "2"},
       {"D_qk", "96"},
       {"D_vo", "64"},
       {"v_in_k", "true"},
       {"batch", "2"},
       {"length", "37"}},
      {{"Hq", "16"},
       {"Hkv", "1"},
       {"D_qk", "576"},
       {"D_vo", "512"},
       {"v_in_k", "true"},
       {"batch", "2"},
       {"length", "300"},
       {"ragged", "true"}}}},
    {"attention_prefill",
     {{{"Hq", "2"}, {"Hkv", "1"}, {"q_len", "9"}, {"kv_len", "150"}},
      {{"batch", "1"}, {"q_len", "70"}, {"kv_len", "130"}}}},
    {"router_gemm", {{{"N", "32"}, {"K", "256"}, {"M", "3"}}, {{"M", "33"}}}},
    {"router_gemm/few_tokens", {{{"N", "32"}, {"K", "256"}, {"M", "3"}}, {{"M", "7"}}}},
    {"qk_rmsnorm", {{{"M", "3"}}, {{"M", "130"}}}},
};

Values values_for(const Op& op, const Implementation& implementation, Size size) {
  for (const std::string& name : {implementation.name, op.name}) {
    const auto found = kSizes.find(name);
    if (found == kSizes.end()) continue;
    return size == Size::small ? found->second.small : found->second.real;
  }
  Values values;
  for (const ParamSpec& param : op.call_params) {
    const auto* usual = std::get_if<std::int64_t>(&param.default_value);
    if (!usual) continue;
    const std::int64_t most = size == Size::small ? 3 : 17;
    values.emplace_back(param.name,
                        std::to_string(std::clamp(std::min(*usual, most), param.min, param.max)));
  }
  return values;
}

// Written in instructions of one arch, which the machine does not know: it runs on that GPU alone,
// by gpu_check.
bool is_of_one_arch(const Implementation& implementation) {
  return implementation.name == "attention_prefill/wgmma";
}

bool is_for(const Implementation& implementation, ArchFamily family) {
  const auto& families = implementation.families;
  return std::find(families.begin(), families.end(), family) != families.end();
}

std::vector<SimtCase> all_cases() {
  std::vector<SimtCase> cases;
  for (const Op& op : ops()) {
    for (const Implementation& implementation : op.implementations) {
      if (is_of_one_arch(implementation)) continue;
      for (const Size size : {Size::small, Size::real}) {
        const std::string checked = size == Size::small ? ":checked" : "";
        if (is_for(implementation, ArchFamily::nvidia)) {
          cases.push_back({&op, &implementation, "simt" + checked, size});
        }
        if (is_for(implementation, ArchFamily::amd)) {
          cases.push_back({&op, &implementation, "simt:warp64" + checked, size});
        }
      }
    }
  }
  return cases;
}

std::string name_of_case(const testing::TestParamInfo<SimtCase>& info) {
  std::string name = info.param.implementation->name + "_" + info.param.arch;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

class SimtOpsTest : public testing::TestWithParam<SimtCase> {};

TEST_P(SimtOpsTest, IsWithinItsBoundsInAnyOrderOfThreads) {
  const SimtCase& one = GetParam();
  test::TempFolder folder;
  Options options = *Options::from_environment();
  options.cache_folder = folder.path();
  options.only_implementation = one.implementation->name;
  const auto runtime = *Runtime::create(options);
  const Arch arch = *Arch::parse(one.arch);
  for (Compiler* compiler : runtime->compilers().chain(arch)) {
    if (const auto found = compiler->toolchain(); !found) GTEST_SKIP() << found.error().message;
  }
  const auto arguments =
      parse_arguments(*one.op, values_for(*one.op, *one.implementation, one.size));
  ASSERT_TRUE(arguments) << arguments.error().message;
  const auto trial = make_trial(*runtime, *one.op, *arguments, arch, 1);
  ASSERT_TRUE(trial) << trial.error().message;
  SimtDriver* driver = SimtDriver::of(*runtime->driver(arch));
  for (const std::uint64_t seed : {0, 1, 2}) {
    driver->set_seed(seed);
    ASSERT_TRUE((*trial)->reset());
    const auto launched = (*trial)->launch();
    ASSERT_TRUE(launched) << launched.error().message << "\n" << launched.error().log;
    EXPECT_EQ((*trial)->selection().implementation, one.implementation);
    const auto errors = (*trial)->compare();
    ASSERT_TRUE(errors) << errors.error().message;
    for (const OutputError& error : *errors) {
      EXPECT_TRUE(error.passed()) << error.name << " is off by " << error.abs_max << ", "
                                  << error.bound_ratio << " of " << error.allowed;
    }
  }
  // Another order of threads is no reason to compile.
  EXPECT_EQ(runtime->counters().compiles, 1U);
}

// The machine stands in for the GPU with warps of its size and for no other.
TEST(SimtRegistry, BuildsWhatIsWrittenForTheGpuThatItStandsInFor) {
  const Op& op = **find_op("kda_decode");
  const Shape shape = parse_arguments(op, {})->shape;
  const auto can = [&](std::vector<ArchFamily> families, const char* arch) {
    Implementation one = op.implementations.front();
    one.families = std::move(families);
    return static_cast<bool>(can_build(one, shape, *Arch::parse(arch)));
  };
  for (const std::string mode : {"", ":checked", ":checked:debug"}) {
    EXPECT_TRUE(can({ArchFamily::nvidia}, ("simt" + mode).c_str()));
    EXPECT_FALSE(can({ArchFamily::nvidia}, ("simt:warp64" + mode).c_str()));
    EXPECT_FALSE(can({ArchFamily::amd}, ("simt" + mode).c_str()));
    EXPECT_TRUE(can({ArchFamily::amd}, ("simt:warp64" + mode).c_str()));
    EXPECT_FALSE(can({ArchFamily::x86_64}, ("simt" + mode).c_str()));
  }
}

// What is left out above says no for every arch but its own, by itself.
TEST(SimtRegistry, WhatIsOfOneArchRefusesTheMachine) {
  for (const Op& op : ops()) {
    for (const Implementation& implementation : op.implementations) {
      if (!is_of_one_arch(implementation)) continue;
      const Shape shape = parse_arguments(op, {})->shape;
      EXPECT_TRUE(can_build(implementation, shape, *Arch::parse("sm_90a")));
      for (const char* arch : {"simt", "simt:checked", "sm_80", "sm_90", "sm_100a"}) {
        EXPECT_FALSE(can_build(implementation, shape, *Arch::parse(arch))) << arch;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, SimtOpsTest, testing::ValuesIn(all_cases()), name_of_case);

}  // namespace
}  // namespace kiln
