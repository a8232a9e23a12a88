// SPDX-License-Identifier: Apache-2.0
// jitctl on a machine made for the test: a root folder with the program, the libraries it links to,
// and a layer. What is not copied is not there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "tests/tools/bare_machine.h"

namespace kiln::test {
namespace {

using nlohmann::json;

// Calls that take a moment, fp64 reference included.
const std::map<std::string, std::vector<std::string>> kSmallCalls = {
    {"kda_decode", {"H=2", "HV=2", "batch=2"}},
    {"kda_prefill", {"H=2", "HV=2", "batch=1", "tokens=9"}},
    {"attention_decode", {"Hq=4", "Hkv=2", "batch=2", "length=70"}},
    {"attention_prefill", {"Hq=4", "Hkv=2", "q_len=40"}},
    {"router_gemm", {"N=16", "K=256", "M=3"}},
    {"qk_rmsnorm", {"M=4"}},
};

fs::path llvm_plugin() {
  if (const char* given = std::getenv("KILN_LLVM_LIBRARY"); given && *given) return given;
  return fs::path(KILN_JITCTL).parent_path().parent_path() / "lib/libkiln_llvm.so";
}

// A layer in the machine with what this machine's compiler made for `requests`.
void put_layer(const BareMachine& machine, const std::vector<std::vector<std::string>>& requests) {
  Jitctl jitctl;
  jitctl.set("KILN_CACHE_DIR", (machine.root() / "layer").string());
  for (std::vector<std::string> request : requests) {
    request.insert(request.begin(), "prewarm");
    const auto result = jitctl.run(request);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  const auto sealed = jitctl.run({"gc", "--seal"});
  ASSERT_EQ(sealed.exit_code, 0) << sealed.err;
}

std::vector<std::string> shape_of(const std::vector<std::string>& call) {
  std::vector<std::string> shape;
  for (const std::string& word : call) {
    const std::string name = word.substr(0, word.find('='));
    // Capitals name shape parameters here; the others vary from call to call.
    if (std::isupper(static_cast<unsigned char>(name[0])) && name != "M") shape.push_back(word);
  }
  return shape;
}

std::vector<std::string> all_ops() {
  json object;
  Jitctl().run_json({"ops"}, &object);
  std::vector<std::string> ops;
  for (const json& op : object["ops"]) ops.push_back(op["op"]);
  return ops;
}

TEST(BareMachine, RunsEveryOpFromALayerWithNoCompilerOnIt) {
  const BareMachine machine;
  const std::vector<std::string> ops = all_ops();
  ASSERT_GE(ops.size(), 6U);
  std::vector<std::vector<std::string>> requests;
  for (const std::string& op : ops) {
    ASSERT_TRUE(kSmallCalls.contains(op)) << "give " << op << " a small call";
    requests.push_back(shape_of(kSmallCalls.at(op)));
    requests.back().insert(requests.back().begin(), op);
  }
  put_layer(machine, requests);
  for (const auto& each : fs::recursive_directory_iterator(machine.root())) {
    const std::string name = each.path().filename();
    for (const char* part : {"LLVM", "llvm", "clang", "nvrtc", "hiprtc", "comgr", "amdhip"}) {
      EXPECT_EQ(name.find(part), std::string::npos) << each.path();
    }
  }
  for (const std::string& op : ops) {
    std::vector<std::string> words = kSmallCalls.at(op);
    words.insert(words.begin(), {"run", op});
    words.emplace_back("--no-time");
    json object;
    const auto result = machine.run(words, &object);
    SKIP_WHERE_NOT_PERMITTED(result);
    EXPECT_EQ(result.exit_code, 0) << op << ": " << result.err;
    EXPECT_EQ(object["passed"], true) << op;
    EXPECT_EQ(object["stats"]["layer_hits"], 1) << op;
    EXPECT_EQ(object["stats"]["other_toolchain_hits"], 1) << op;
    EXPECT_EQ(object["stats"]["compiles"], 0) << op;
  }
}

TEST(BareMachine, ExactRefusesWhatNoCompilerHereHasMade) {
  const BareMachine machine;
  put_layer(machine, {{"qk_rmsnorm"}});
  json object;
  const auto result = machine.run({"run", "qk_rmsnorm", "M=4", "--no-time"}, &object,
                                  {{"KILN_TOOLCHAIN", "exact"}});
  SKIP_WHERE_NOT_PERMITTED(result);
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_NE(result.err.find("LLVM"), std::string::npos) << result.err;
  EXPECT_EQ(object["stats"]["layer_hits"], 0);
}

// The libraries of LLVM are there by name and build-id and could not be loaded: whoever tried to
// open one for the key, or for a hit, would fail.
TEST(BareMachine, TheToolchainIsFoundFromBuildIdsWithoutLoadingAnything) {
  const fs::path plugin = llvm_plugin();
  if (!fs::exists(plugin)) GTEST_SKIP() << "there is no LLVM plugin: " << plugin;
  const BareMachine machine;
  machine.copy(plugin, fs::path("/opt/kiln") / plugin.filename());
  int cut = 0;
  for (const fs::path& library : linked_libraries(plugin)) {
    const std::string name = library.filename();
    if (!name.starts_with("libLLVM") && !name.starts_with("libclang-cpp")) continue;
    machine.copy_unloadable(library);
    ++cut;
  }
  ASSERT_GE(cut, 2);
  put_layer(machine, {{"qk_rmsnorm"}});
  const Environment exact = {
      {"KILN_TOOLCHAIN", "exact"},
      {"KILN_LLVM_LIBRARY", (fs::path("/opt/kiln") / plugin.filename()).string()}};
  json object;
  const auto hit = machine.run({"run", "qk_rmsnorm", "M=4", "--no-time"}, &object, exact);
  SKIP_WHERE_NOT_PERMITTED(hit);
  EXPECT_EQ(hit.exit_code, 0) << hit.err;
  EXPECT_EQ(object["passed"], true);
  EXPECT_EQ(object["stats"]["layer_hits"], 1);
  EXPECT_EQ(object["stats"]["other_toolchain_hits"], 0);

  const auto miss = machine.run({"run", "qk_rmsnorm", "Nq=64", "M=4", "--no-time"}, &object, exact);
  EXPECT_NE(miss.exit_code, 0);
  EXPECT_NE(miss.err.find("ET_DYN"), std::string::npos)
      << "LLVM should have been opened for a compile, in vain: " << miss.err;
}

}  // namespace
}  // namespace kiln::test
