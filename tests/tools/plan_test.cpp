// SPDX-License-Identifier: Apache-2.0
// What runs ask for is recorded, merged, and prewarmed elsewhere; a set is shared by machines.
#include <gtest/gtest.h>

#include <set>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

// A shape of `qk_rmsnorm` compiles in a moment.
std::vector<std::string> small_run(const char* size) {
  return {"run", "qk_rmsnorm", std::string("Nq=") + size, "M=4", "--no-time"};
}

std::string plan_of_runs(Jitctl& jitctl, const char* name, std::vector<const char*> sizes) {
  const std::string file = (jitctl.home().path() / name).string();
  jitctl.set("KILN_RECORD_PLAN", file);
  for (const char* size : sizes) {
    const auto result = jitctl.run(small_run(size));
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
  jitctl.set("KILN_RECORD_PLAN", "");
  return file;
}

std::set<std::string> labels_of(const json& prewarm) {
  std::set<std::string> labels;
  for (const json& kernel : prewarm["kernels"]) labels.insert(kernel["label"]);
  return labels;
}

TEST(Plan, WhatRunsAskedForIsShownMergedAndReplayed) {
  Jitctl there;
  const std::string one = plan_of_runs(there, "one", {"64", "128", "64"});
  const std::string two = plan_of_runs(there, "two", {"128", "96"});
  json shown;
  ASSERT_EQ(there.run_json({"plan", "show", one}, &shown).exit_code, 0);
  ASSERT_EQ(shown["requests"].size(), 2U) << "each request once";
  EXPECT_EQ(shown["requests"][0]["op"], "qk_rmsnorm");
  EXPECT_EQ(shown["requests"][0]["shape"]["Nq"], 64);
  EXPECT_NE(there.run({"plan", "show", one}).out.find("2 requests of 1 ops on 1 archs"),
            std::string::npos);

  const std::string all = (there.home().path() / "all").string();
  ASSERT_EQ(there.run({"plan", "merge", one, two, "-o", all}).exit_code, 0);
  ASSERT_EQ(there.run_json({"plan", "show", all}, &shown).exit_code, 0);
  EXPECT_EQ(shown["requests"].size(), 3U);

  // Replayed with an empty cache: the runs then compile nothing.
  Jitctl here;
  json prewarmed;
  ASSERT_EQ(here.run_json({"prewarm", "--plan", one + "," + two}, &prewarmed).exit_code, 0);
  EXPECT_EQ(prewarmed["stats"]["compiles"], 3);
  for (const char* size : {"64", "96", "128"}) {
    json ran;
    EXPECT_EQ(here.run_json(small_run(size), &ran).exit_code, 0);
    EXPECT_EQ(ran["stats"]["compiles"], 0) << size;
  }
  EXPECT_EQ(here.run({"prewarm", "--plan", all, "--check"}).exit_code, 0);
  EXPECT_EQ(here.run({"prewarm", "--plan", all, "--arch", "x86-64-v2", "--check"}).exit_code, 3);
}

TEST(Plan, ReplaysForArchsThatNoMachineHereHas) {
  Jitctl jitctl;
  const std::string plan = plan_of_runs(jitctl, "plan", {"64"});
  json listed;
  const auto result = jitctl.run_json(
      {"prewarm", "--plan", plan, "--arch", "sm_90a,gfx942", "--dry-run", "--check"}, &listed);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::set<std::string> archs;
  for (const json& kernel : listed["kernels"]) archs.insert(kernel["arch"]);
  EXPECT_EQ(archs, (std::set<std::string>{"gfx942", "sm_90a"}));
}

TEST(Plan, IsCompiledForArchsThatNoMachineHereHas) {
  Jitctl jitctl;
  const std::string plan = plan_of_runs(jitctl, "plan", {"64"});
  std::vector<std::string> words = {"prewarm", "--plan", plan, "--arch", "gfx942,x86-64-v2"};
  json made;
  const auto result = jitctl.run_json(words, &made);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_GE(made["kernels"].size(), 2U);
  for (const json& kernel : made["kernels"]) EXPECT_EQ(kernel["outcome"], "compiled") << kernel;
  words.emplace_back("--check");
  json checked;
  EXPECT_EQ(jitctl.run_json(words, &checked).exit_code, 0);
  EXPECT_EQ(checked["stats"]["disk_hits"], made["kernels"].size());
}

TEST(Plan, RecordsAMissUnderLockedToo) {
  Jitctl jitctl;
  const std::string file = (jitctl.home().path() / "plan").string();
  jitctl.set("KILN_RECORD_PLAN", file);
  jitctl.set("KILN_CACHE_POLICY", "locked");
  EXPECT_EQ(jitctl.run(small_run("64")).exit_code, 3);
  jitctl.set("KILN_CACHE_POLICY", "");
  EXPECT_EQ(jitctl.run({"prewarm", "--plan", file}).exit_code, 0);
}

TEST(Shard, PartsOverlapNowhereAndMakeTheWhole) {
  const Jitctl jitctl;
  const auto part = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        "prewarm",   "--config", model_config(), "--arch", "cpu,x86-64-v3,sm_90a,gfx942",
        "--dry-run", "--check"};
    words.insert(words.end(), more.begin(), more.end());
    json object;
    EXPECT_EQ(jitctl.run_json(words, &object).exit_code, 0);
    return labels_of(object);
  };
  const std::set<std::string> whole = part({});
  ASSERT_GT(whole.size(), 10U);
  std::set<std::string> together;
  std::size_t total = 0;
  for (const char* shard : {"1/3", "2/3", "3/3"}) {
    const auto labels = part({"--shard", shard});
    EXPECT_NEAR(static_cast<double>(labels.size()), static_cast<double>(whole.size()) / 3, 1);
    total += labels.size();
    together.insert(labels.begin(), labels.end());
  }
  EXPECT_EQ(together, whole);
  EXPECT_EQ(total, whole.size());
}

TEST(Shard, AMachineTooManyHasNothingToDo) {
  const Jitctl jitctl;
  const std::vector<std::string> words = {"prewarm", "qk_rmsnorm", "Nq=64", "--shard"};
  for (const auto& [shard, kernels] : {std::pair("1/2", 1U), std::pair("2/2", 0U)}) {
    std::vector<std::string> part = words;
    part.emplace_back(shard);
    json object;
    EXPECT_EQ(jitctl.run_json(part, &object).exit_code, 0) << shard;
    EXPECT_EQ(object["kernels"].size(), kernels) << shard;
  }
}

// Machines with other compilers get the same parts.
TEST(Shard, DoesNotDependOnTheCompilersThatAreHere) {
  Jitctl with;
  Jitctl without;
  without.set("KILN_NVRTC_LIBRARY", "/no/such/libnvrtc.so");
  const std::vector<std::string> words = {
      "prewarm", "router_gemm",        "--arch",   "sm_90a,cpu,sm_80,x86-64-v3", "--shard",
      "2/3",     "--skip-unavailable", "--dry-run"};
  json all;
  json cpu_only;
  ASSERT_EQ(with.run_json(words, &all).exit_code, 0);
  ASSERT_EQ(without.run_json(words, &cpu_only).exit_code, 0);
  std::set<std::string> expected;
  for (const std::string& label : labels_of(all)) {
    if (label.find("sm_") == std::string::npos) expected.insert(label);
  }
  EXPECT_EQ(labels_of(cpu_only), expected);
}

}  // namespace
}  // namespace kiln::test
