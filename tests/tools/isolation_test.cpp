// SPDX-License-Identifier: Apache-2.0
// Compiling in kiln-worker processes, as an operator meets it.
#include <gtest/gtest.h>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

bool can(const Jitctl& jitctl, const char* arch) {
  return jitctl.run({"which", "kda_decode", "--arch", arch, "--json"})
             .out.find("\"serves\": true") != std::string::npos;
}

// What `which` says of hipRTC and gfx942.
std::string verdict_of_hiprtc(const Jitctl& jitctl) {
  json object;
  jitctl.run_json({"which", "kda_decode", "--arch", "gfx942"}, &object);
  for (const json& compiler : object["compilers"]) {
    if (compiler["compiler"] == "hiprtc") return compiler["verdict"];
  }
  return {};
}

TEST(Isolation, WhichShowsTheCrashThatAnEarlierProcessSaw) {
  Jitctl jitctl;
  const std::string first = verdict_of_hiprtc(jitctl);
  if (first.find("died on gfx942") == std::string::npos) {
    GTEST_SKIP() << "no hipRTC here that dies on gfx942: " << first;
  }
  // A worker that cannot be had is not missed: nobody asks.
  jitctl.set("KILN_WORKER", "/no/such/kiln-worker");
  const std::string second = verdict_of_hiprtc(jitctl);
  EXPECT_NE(second.find("died on gfx942"), std::string::npos) << second;
  EXPECT_NE(second.find("delete '" + (jitctl.cache_folder() / "crashes").string()),
            std::string::npos)
      << second;

  std::filesystem::remove_all(jitctl.cache_folder() / "crashes");
  const std::string forgotten = verdict_of_hiprtc(jitctl);
  EXPECT_NE(forgotten.find("does not know gfx942"), std::string::npos) << forgotten;
}

TEST(Isolation, EveryCompilerCanRunInAWorker) {
  Jitctl jitctl;
  jitctl.set("KILN_ISOLATION", "all");
  json object;
  const auto result = jitctl.run_json({"doctor"}, &object);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  int isolated = 0;
  for (const json& compiler : object["compilers"]) {
    if (!compiler["ok"].get<bool>()) continue;
    EXPECT_EQ(compiler["runs_in"], "kiln-worker processes");
    ++isolated;
  }
  EXPECT_GE(isolated, 1);
  EXPECT_EQ(jitctl.run({"run", "kda_decode", "H=2", "HV=2", "batch=1", "--no-time"}).exit_code, 0);
}

TEST(Isolation, AMissingWorkerIsOneWarningAndTheKernelsAreMade) {
  Jitctl jitctl;
  jitctl.set("KILN_ISOLATION", "all");
  jitctl.set("KILN_WORKER", "/no/such/kiln-worker");
  json object;
  const auto result = jitctl.run_json({"prewarm", "kda_decode", "H=2", "HV=2"}, &object);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["stats"]["compiles"], 1);
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find("/no/such/kiln-worker"), std::string::npos) << result.err;
}

// Workers hold the memory of their compiles, so it is known what one takes.
TEST(Isolation, PrewarmRunsAsManyAsAskedForAndMeasuresThem) {
  Jitctl jitctl;
  jitctl.set("KILN_ISOLATION", "all");
  json object;
  const auto result =
      jitctl.run_json({"prewarm", "--config", model_config(), "--tp", "4", "--jobs", "2"}, &object);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["jobs"]["asked"], 2);
  EXPECT_EQ(object["jobs"]["most_at_once"], 2);
  EXPECT_GT(object["jobs"]["memory_bytes_max"], 10 << 20);
}

TEST(Isolation, HiprtcCompilesInParallel) {
  const Jitctl jitctl;
  if (!can(jitctl, "gfx90a")) GTEST_SKIP() << "no compiler for gfx90a";
  json object;
  const auto result = jitctl.run_json(
      {"prewarm", "--config", model_config(), "--tp", "4", "--arch", "gfx90a", "--jobs", "2"},
      &object);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["jobs"]["most_at_once"], 2);
  EXPECT_EQ(object["stats"]["compiles"], object["kernels"].size());
}

}  // namespace
}  // namespace kiln::test
