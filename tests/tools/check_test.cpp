// SPDX-License-Identifier: Apache-2.0
// What a machine that may compile nothing says of what it lacks: every kernel, each with the
// nearest stored one and the fields that differ.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

// Without the line ends that folding put in.
std::string unfolded(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) line += word + " ";
  return line;
}

std::size_t times(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size())
    ++count;
  return count;
}

// One kernel of four is stored. Of the others, one differs in its shape, one in its arch, and one
// is of an op that has no entry.
class Check : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(jitctl_.run({"prewarm", "qk_rmsnorm", "Nq=64", "--arch", "x86-64-v3"}).exit_code, 0);
    plan_ = jitctl_.home()
                .write("plan",
                       "kiln-plan 1\nqk_rmsnorm x86-64-v3 Nq=64\nqk_rmsnorm x86-64-v3 Nq=96\n"
                       "qk_rmsnorm x86-64-v2 Nq=64\nrouter_gemm x86-64-v3 N=16 K=256\n")
                .string();
    json listed;
    jitctl_.run_json({"ls"}, &listed);
    ASSERT_EQ(listed["kernels"].size(), 1U);
    stored_ = listed["kernels"][0];
  }

  void expect_all_is_told(const std::vector<std::string>& words) const {
    const auto result = jitctl_.run(words);
    EXPECT_EQ(result.exit_code, 3) << result.err;
    const std::string out = unfolded(result.out);
    EXPECT_EQ(times(out, "missing: "), 3U) << out;
    EXPECT_EQ(times(out, "nearest entry '" + stored_["label"].get<std::string>() + "' (key " +
                             stored_["key"].get<std::string>().substr(0, 12) + ") differs in "),
              2U)
        << out;
    for (const char* part :
         {"missing: qk_rmsnorm/cpu Nq=96 ", "shape.Nq: stored int 64, asked int 96",
          "arch: stored x86-64-v3, asked x86-64-v2", "missing: router_gemm/cpu N=16 K=256 ",
          "no entry of this op is there", "4 kernels: 3 missing, 1 present"}) {
      EXPECT_NE(out.find(part), std::string::npos) << part << " not in " << out;
    }
  }

  void expect_the_same_as_json(const std::vector<std::string>& words) const {
    json object;
    EXPECT_EQ(jitctl_.run_json(words, &object).exit_code, 3);
    EXPECT_EQ(object["stats"]["compiles"], 0);
    int near = 0;
    int lonely = 0;
    for (const json& kernel : object["kernels"]) {
      if (kernel["outcome"] == "present") continue;
      EXPECT_EQ(kernel["outcome"], "missing");
      lonely += kernel["nearest"].is_null() ? 1 : 0;
      if (kernel["nearest"].is_null()) continue;
      ++near;
      EXPECT_EQ(kernel["nearest"]["key"], stored_["key"]);
      EXPECT_FALSE(kernel["nearest"]["differs"].empty());
    }
    EXPECT_EQ(near, 2);
    EXPECT_EQ(lonely, 1);
  }

  Jitctl jitctl_;
  std::string plan_;
  json stored_;
};

TEST_F(Check, PrewarmNamesEveryMissingKernel) {
  expect_all_is_told({"prewarm", "--plan", plan_, "--check"});
  expect_the_same_as_json({"prewarm", "--plan", plan_, "--check"});
}

TEST_F(Check, SoDoesThePolicyLocked) {
  jitctl_.set("KILN_CACHE_POLICY", "locked");
  expect_all_is_told({"prewarm", "--plan", plan_});
  expect_the_same_as_json({"prewarm", "--plan", plan_});
  EXPECT_EQ(jitctl_.run({"prewarm", "qk_rmsnorm", "Nq=64", "--arch", "x86-64-v3"}).exit_code, 0);
}

TEST_F(Check, WhatMayNotBeStoredIsAMistake) {
  for (const char* policy : {"read_only", "off"}) {
    jitctl_.set("KILN_CACHE_POLICY", policy);
    const auto result = jitctl_.run({"prewarm", "--plan", plan_});
    EXPECT_EQ(result.exit_code, 2) << policy;
    EXPECT_NE(result.err.find("KILN_CACHE_POLICY"), std::string::npos) << result.err;
  }
}

// Under `exact` an entry of another compiler is none, and it is no field of the request that
// differs.
TEST_F(Check, AnEntryOfACompilerThatIsNotHereIsNamed) {
  jitctl_.set("KILN_LLVM_LIBRARY", "/no/such/libkiln_llvm.so");
  jitctl_.set("KILN_TOOLCHAIN", "exact");
  const auto result =
      jitctl_.run({"prewarm", "qk_rmsnorm", "Nq=64", "--arch", "x86-64-v3", "--check"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_NE(unfolded(result.out).find("is this request, by a compiler that is not here"),
            std::string::npos)
      << result.out;
}

}  // namespace
}  // namespace kiln::test
