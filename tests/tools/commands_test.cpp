// SPDX-License-Identifier: Apache-2.0
// Each command does its work on the real compilers and says so, for people and as JSON.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

bool have_nvrtc(const Jitctl& jitctl) {
  return jitctl.run({"which", "kda_decode", "--arch", "sm_90a", "--json"})
             .out.find("\"serves\": true") != std::string::npos;
}

TEST(Commands, OpsListsDefaultsThatRun) {
  const Jitctl jitctl;
  json object;
  ASSERT_EQ(jitctl.run_json({"ops", "kda_decode"}, &object).exit_code, 0);
  EXPECT_EQ(object["ops"][0]["op"], "kda_decode");
  EXPECT_GE(object["ops"][0]["implementations"].size(), 2U);
  EXPECT_NE(jitctl.run({"ops"}).out.find("kda_decode"), std::string::npos);
}

TEST(Commands, DoctorRunsAKernelOnThisHost) {
  const Jitctl jitctl;
  json object;
  const auto result = jitctl.run_json({"doctor"}, &object);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(object["healthy"], true);
  bool ran = false;
  for (const json& device : object["devices"]) {
    if (device.value("device", "") == "this host") ran = device["ok"].get<bool>();
  }
  EXPECT_TRUE(ran) << object.dump(1);
}

TEST(Commands, DoctorSaysHowToGetWhatIsMissing) {
  Jitctl jitctl;
  jitctl.set("KILN_NVRTC_LIBRARY", "/no/such/libnvrtc.so");
  const auto result = jitctl.run({"doctor"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("/no/such/libnvrtc.so"), std::string::npos) << result.out;
}

TEST(Commands, WhichNamesTheCompilerAndWhoWasPassedOver) {
  const Jitctl jitctl;
  json object;
  ASSERT_EQ(jitctl.run_json({"which", "kda_decode", "--arch", "cpu"}, &object).exit_code, 0);
  EXPECT_EQ(object["implementation"], "kda_decode/cpu");
  EXPECT_EQ(object["compilers"][0]["compiler"], "llvm");
  EXPECT_FALSE(object["passed_over"].empty());
}

TEST(Commands, CompileReportsWhatAGpuKernelUses) {
  const Jitctl jitctl;
  if (!have_nvrtc(jitctl)) GTEST_SKIP() << "NVRTC is not on this machine";
  json object;
  const auto result = jitctl.run_json({"compile", "kda_decode", "--arch", "sm_90a"}, &object);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["format"], "cubin");
  EXPECT_GT(object["entries"][0]["resources"]["registers"], 16);
  EXPECT_EQ(object["entries"][0]["resources"]["spill_store_bytes"], 0);
}

TEST(Commands, CompileEmitsEachStage) {
  const Jitctl jitctl;
  const auto emitted = [&](const char* kind) {
    return jitctl.run({"compile", "kda_decode", "H=2", "HV=2", "--emit", kind}).out;
  };
  EXPECT_NE(emitted("source").find("kiln/shape.h"), std::string::npos);
  EXPECT_NE(emitted("llvm").find("define"), std::string::npos);
  EXPECT_NE(emitted("asm").find("vfmadd"), std::string::npos);
  const std::string code = emitted("code");
  EXPECT_EQ(code.substr(0, 4),
            "\x7f"
            "ELF");
  const auto file = (jitctl.home().path() / "kernel.so").string();
  ASSERT_EQ(
      jitctl.run({"compile", "kda_decode", "H=2", "HV=2", "--emit", "code", "-o", file}).exit_code,
      0);
  EXPECT_EQ(std::filesystem::file_size(file), code.size());
}

TEST(Commands, RunReportsErrorTimeAndShareOfTheLimit) {
  const Jitctl jitctl;
  json object;
  const auto result = jitctl.run_json(
      {"run", "kda_decode", "H=2", "HV=4", "batch=5", "--seconds", "0.01"}, &object);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(object["passed"], true);
  EXPECT_EQ(object["outputs"].size(), 2U);
  EXPECT_GT(object["time_us"], 0);
  EXPECT_GT(object["share_of_limit"], 0);
}

TEST(Commands, LsShowAndStatsTellOfWhatIsStored) {
  const Jitctl jitctl;
  ASSERT_EQ(
      jitctl.run({"prewarm", "kda_decode", "H=2", "HV=2", "--arch", "cpu,x86-64-v3"}).exit_code, 0);
  json listed;
  ASSERT_EQ(jitctl.run_json({"ls"}, &listed).exit_code, 0);
  ASSERT_EQ(listed["kernels"].size(), 2U);
  json filtered;
  ASSERT_EQ(jitctl.run_json({"ls", "H=2 HV=3"}, &filtered).exit_code, 0);
  EXPECT_TRUE(filtered["kernels"].empty());

  const std::string key = listed["kernels"][0]["key"];
  json shown;
  ASSERT_EQ(jitctl.run_json({"show", key.substr(0, 12)}, &shown).exit_code, 0);
  const std::string text = shown.dump();
  for (const char* part : {"request.shape.H", "request.arch", "toolchain.", "compile_time_ms"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " not in " << text;
  }

  json stats;
  ASSERT_EQ(jitctl.run_json({"stats"}, &stats).exit_code, 0);
  EXPECT_EQ(stats["entries"], 2);
  EXPECT_EQ(stats["puts"], 2);
}

// A variant of a caller's own is compiled from its file, listed under its name, and told of with
// its own lines where it is broken.
TEST(Commands, AttentionVariantsComeFromFilesAndAreListedByName) {
  for (const char* op : {"attention_prefill", "attention_decode"}) {
    const Jitctl jitctl;
    const std::string file = jitctl.home().path() / "far.json";
    const auto write = [&](const char* mask) {
      std::ofstream(file) << json{{"name", "far"}, {"mask", mask}, {"scalars", {"i32 reach"}}};
    };
    write("kv_idx < kv_len - reach");
    const auto made = jitctl.run({"compile", op, "--variant", file, "variant=far"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    json listed;
    ASSERT_EQ(jitctl.run_json({"ls", "far"}, &listed).exit_code, 0);
    ASSERT_EQ(listed["kernels"].size(), 1U);
    const std::string label = listed["kernels"][0]["label"];
    EXPECT_NE(label.find(std::string(op) + "/cpu"), std::string::npos) << label;
    EXPECT_NE(label.find("variant=far@"), std::string::npos) << label;
    write("kv_idx <\n kv_length");
    const auto broken = jitctl.run({"compile", op, "--variant", file, "variant=far"});
    EXPECT_NE(broken.exit_code, 0);
    EXPECT_NE(broken.err.find("far.mask:2:2: "), std::string::npos) << broken.err;
  }
}

TEST(Commands, PrewarmListsWhatTheModelNeedsAndKilnHasNoOpFor) {
  const Jitctl jitctl;
  const auto result = jitctl.run({"prewarm", "--config", model_config(), "--tp", "4", "--dry-run"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("kda_decode/cpu H=8 HV=8 K=128 V=128"), std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("no op yet: "), std::string::npos) << result.out;
}

TEST(Commands, HelpAndVersionSucceed) {
  const Jitctl jitctl;
  EXPECT_EQ(jitctl.run({"--help"}).exit_code, 0);
  EXPECT_EQ(jitctl.run({"--version"}).exit_code, 0);
  EXPECT_EQ(jitctl.run({"prewarm", "--help"}).exit_code, 0);
}

}  // namespace
}  // namespace kiln::test
