// SPDX-License-Identifier: Apache-2.0
// explain, prewarm --check, gc, ls and stats on a store that the real compiler filled.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

const std::vector<std::string> kStored = {"kda_decode", "H=4", "HV=8"};

std::vector<std::string> words(const char* command, std::vector<std::string> rest) {
  rest.insert(rest.begin(), command);
  return rest;
}

class Explain : public testing::Test {
 protected:
  void SetUp() override {
    const auto result = jitctl_.run(words("prewarm", kStored));
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  json run(const std::vector<std::string>& line, int exit_code = 0) {
    json object;
    const auto result = jitctl_.run_json(line, &object);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    return object;
  }
  // Moves the cache to where it is a layer.
  void make_layer() {
    EXPECT_EQ(run({"gc", "--seal"})["sealed"], true);
    const auto layer = jitctl_.home().path() / "layer";
    std::filesystem::rename(jitctl_.cache_folder(), layer);
    jitctl_.set("KILN_CACHE_LAYERS", layer.string());
  }

  Jitctl jitctl_;
};

TEST_F(Explain, AHitNamesTierToolchainAndTime) {
  const json kernel = run(words("explain", kStored))["kernels"][0];
  EXPECT_EQ(kernel["outcome"], "hit");
  EXPECT_EQ(kernel["other_toolchain"], false);
  const json entry = kernel["entry"];
  EXPECT_EQ(entry["tier"], "disk");
  EXPECT_EQ(entry["file"], jitctl_.database().string());
  EXPECT_EQ(entry["key"], kernel["key"]);
  EXPECT_EQ(entry["compiler"], "llvm");
  EXPECT_GT(entry["compile_time_ms"], 0);
  EXPECT_GT(entry["created_s"], 1'700'000'000);
  EXPECT_EQ(entry["toolchain"], kernel["toolchains"][0]["toolchain"]);
  EXPECT_NE(entry["toolchain_record"].dump().find("libLLVM"), std::string::npos);
  const std::string text = jitctl_.run(words("explain", kStored)).out;
  EXPECT_NE(text.find("hit        disk"), std::string::npos) << text;
}

TEST_F(Explain, AMissNamesTheNearestEntryAndEachFieldThatDiffers) {
  ASSERT_EQ(jitctl_.run({"prewarm", "kda_decode", "H=1", "HV=1", "K=64", "V=64"}).exit_code, 0);
  const json kernel = run({"explain", "kda_decode", "H=2", "HV=8"})["kernels"][0];
  EXPECT_EQ(kernel["outcome"], "miss");
  EXPECT_NE(std::string(kernel["nearest"]["label"]).find("H=4 HV=8"), std::string::npos);
  bool named = false;
  for (const json& difference : kernel["nearest"]["differs"]) {
    const std::string field = difference["field"];
    EXPECT_EQ(field.find("toolchain."), std::string::npos) << field;
    if (field != "request.shape.H") continue;
    named = true;
    EXPECT_EQ(difference["stored"], "int 4");
    EXPECT_EQ(difference["asked"], "int 2");
  }
  EXPECT_TRUE(named) << kernel.dump(1);
  const std::string text = jitctl_.run({"explain", "kda_decode", "H=2", "HV=8"}).out;
  EXPECT_NE(text.find("request.shape.H: stored int 4, asked int 2"), std::string::npos) << text;
}

TEST_F(Explain, CheckTellsTheSameAsJson) {
  const json explained = run({"explain", "kda_decode", "H=2", "HV=8"})["kernels"][0];
  const json checked = run({"prewarm", "kda_decode", "H=2", "HV=8", "--check"}, 3)["kernels"][0];
  EXPECT_EQ(checked["outcome"], "missing");
  EXPECT_EQ(checked["key"], explained["key"]);
  EXPECT_EQ(checked["nearest"], explained["nearest"]);
}

TEST_F(Explain, WritesNothing) {
  const json before = run({"stats"});
  run(words("explain", kStored));
  run({"explain", "kda_decode", "H=2", "HV=8"});
  EXPECT_EQ(run({"stats"}), before);
}

TEST_F(Explain, AnEmptyCacheSaysSo) {
  const Jitctl empty;
  json object;
  ASSERT_EQ(empty.run_json(words("explain", kStored), &object).exit_code, 0);
  EXPECT_EQ(object["kernels"][0]["outcome"], "miss");
  EXPECT_TRUE(object["kernels"][0]["nearest"].is_null());
  EXPECT_FALSE(std::filesystem::exists(empty.cache_folder()));
}

TEST_F(Explain, AnOlderArchThatServesIsTheHit) {
  ASSERT_EQ(jitctl_.run({"prewarm", "kda_decode", "H=2", "HV=2", "--arch", "x86-64-v2"}).exit_code,
            0);
  const json kernel = run({"explain", "kda_decode", "H=2", "HV=2"})["kernels"][0];
  EXPECT_EQ(kernel["outcome"], "hit");
  EXPECT_NE(std::string(kernel["label"]).find("x86-64-v2"), std::string::npos);
}

TEST_F(Explain, ALayerIsNamedToo) {
  make_layer();
  const json hit = run(words("explain", kStored))["kernels"][0];
  EXPECT_EQ(hit["entry"]["tier"], "layer");
  const json miss = run({"explain", "kda_decode", "H=2", "HV=8"})["kernels"][0];
  EXPECT_EQ(miss["nearest"]["tier"], "layer");
}

TEST_F(Explain, WithNoCompilerHereOnlyTheRequestIsCompared) {
  jitctl_.set("KILN_LLVM_LIBRARY", "/no/such/libkiln_llvm.so");
  const json any = run(words("explain", kStored))["kernels"][0];
  EXPECT_EQ(any["outcome"], "hit");
  EXPECT_EQ(any["other_toolchain"], true);
  jitctl_.set("KILN_TOOLCHAIN", "exact");
  const json exact = run(words("explain", kStored))["kernels"][0];
  EXPECT_EQ(exact["outcome"], "miss");
  EXPECT_TRUE(exact["nearest"]["differs"].empty());
  EXPECT_NE(std::string(exact["toolchains"][0]["reason"]).find("/no/such"), std::string::npos);
}

// ---- layers over processes

TEST_F(Explain, ALayerServesAndMissesGoToTheWritableCache) {
  make_layer();
  json warm = run(words("prewarm", kStored));
  EXPECT_EQ(warm["stats"]["layer_hits"], 1);
  EXPECT_EQ(warm["stats"]["compiles"], 0);
  json other = run({"prewarm", "kda_decode", "H=2", "HV=8"});
  EXPECT_EQ(other["stats"]["compiles"], 1);
  other = run({"prewarm", "kda_decode", "H=2", "HV=8", "--check"});
  EXPECT_EQ(other["stats"]["disk_hits"], 1);
}

TEST_F(Explain, ARefusedLayerCostsOneWarningAndNoCompile) {
  const auto layer = jitctl_.home().path() / "layer";
  std::filesystem::copy(jitctl_.cache_folder(), layer);  // not sealed
  jitctl_.set("KILN_CACHE_LAYERS", layer.string());
  json object;
  const auto result = jitctl_.run_json({"prewarm", "kda_decode", "H=2", "HV=8"}, &object);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(object["stats"]["cache_errors"], 1);
  EXPECT_NE(result.err.find("gc --seal"), std::string::npos) << result.err;
  EXPECT_EQ(run({"doctor"})["cache"]["layers"][0]["ok"], false);
}

// ---- gc, ls, stats

TEST_F(Explain, GcEnforcesACapByHand) {
  ASSERT_EQ(jitctl_.run({"prewarm", "kda_decode", "H=2", "HV=8"}).exit_code, 0);
  EXPECT_EQ(run({"gc"})["entries_evicted"], 0);
  const json collected = run({"gc", "--size", "1K"});
  EXPECT_EQ(collected["entries_evicted"], 2);
  EXPECT_EQ(collected["entries"], 0);
  EXPECT_EQ(run({"ls"})["kernels"].size(), 0U);
  EXPECT_FALSE(collected.contains("previous_file"));
  std::ofstream(jitctl_.cache_folder() / "kernels-v1.db") << "an older Kiln's";
  EXPECT_EQ(run({"gc"})["previous_file"], (jitctl_.cache_folder() / "kernels-v1.db").string());
  EXPECT_NE(jitctl_.run({"gc", "--size", "much"}).err.find("K, M, G"), std::string::npos);
}

TEST_F(Explain, LsGoesOnWhereItEnded) {
  ASSERT_EQ(jitctl_.run({"prewarm", "kda_decode", "H=2", "HV=8"}).exit_code, 0);
  const json first = run({"ls", "--limit", "1"});
  ASSERT_EQ(first["kernels"].size(), 1U);
  const json second = run({"ls", "--limit", "5", "--after", first["next"]});
  ASSERT_EQ(second["kernels"].size(), 1U);
  EXPECT_NE(first["kernels"][0]["key"], second["kernels"][0]["key"]);
  EXPECT_FALSE(second.contains("next"));
  EXPECT_EQ(jitctl_.run({"ls", "--after", "x"}).exit_code, 2);
}

TEST_F(Explain, StatsAddUpAcrossProcessesByTierOpArchAndCompiler) {
  for (int i = 0; i < 3; ++i) run(words("prewarm", kStored));
  const json stats = run({"stats"});
  const auto row = [&](const char* by, const std::string& name) {
    for (const json& each : stats[std::string("by_") + by]) {
      if (each[by] == name) return each;
    }
    return json();
  };
  EXPECT_EQ(row("tier", "compiled")["compiles"], 1);
  EXPECT_EQ(row("tier", "disk")["hits"], 3);
  const json op = row("op", "kda_decode");
  EXPECT_EQ(op["hits"], 3);
  EXPECT_EQ(op["compiles"], 1);
  const double spent = op["compile_s_spent"];
  EXPECT_GT(spent, 0);
  // Each hit saves what the compile took; the note beside an entry has it to 0.1 ms.
  EXPECT_NEAR(op["compile_s_saved"], 3 * spent, 0.001);
  EXPECT_EQ(row("compiler", "llvm")["hits"], 3);
  EXPECT_EQ(stats["by_arch"].size(), 1U);
}

}  // namespace
}  // namespace kiln::test
