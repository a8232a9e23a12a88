// SPDX-License-Identifier: Apache-2.0
// jitctl on a machine made for the test: a root folder with the program, the libraries it links to,
// and a layer. What is not copied is not there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kNotPermitted = 77;

// Calls that take a moment, fp64 reference included.
const std::map<std::string, std::vector<std::string>> kSmallCalls = {
    {"kda_decode", {"H=2", "HV=2", "batch=2"}},
    {"kda_prefill", {"H=2", "HV=2", "batch=1", "tokens=9"}},
    {"attention_decode", {"Hq=4", "Hkv=2", "batch=2", "length=70"}},
    {"attention_prefill", {"Hq=4", "Hkv=2", "q_len=40"}},
    {"router_gemm", {"N=16", "K=256", "M=3"}},
    {"qk_rmsnorm", {"M=4"}},
};

// The libraries that the loader finds for a program or library, by the paths that it uses.
std::vector<fs::path> linked_libraries(const fs::path& file) {
  std::vector<fs::path> found;
  std::istringstream lines(run_process({"/usr/bin/ldd", file.string()}).out);
  for (std::string word; lines >> word;) {
    if (word.starts_with("/")) found.emplace_back(word);
  }
  return found;
}

fs::path llvm_plugin() {
  if (const char* given = std::getenv("KILN_LLVM_LIBRARY"); given && *given) return given;
  return fs::path(KILN_JITCTL).parent_path().parent_path() / "lib/libkiln_llvm.so";
}

class BareMachine {
 public:
  BareMachine() {
    fs::create_directories(root() / "proc");
    copy(KILN_JITCTL, "/bin/jitctl");
    for (const fs::path& library : linked_libraries(KILN_JITCTL)) copy(library, library);
  }

  fs::path root() const { return folder_.path(); }

  void copy(const fs::path& file, const fs::path& to) const {
    const fs::path target = root() / to.relative_path();
    fs::create_directories(target.parent_path());
    fs::copy_file(file, target, fs::copy_options::overwrite_existing);
  }

  // The library with its build-id, and as a core dump in its header, which no loader takes.
  void copy_unloadable(const fs::path& file) const {
    constexpr std::streamoff kTypeAt = 16;
    constexpr char kCore = 4;
    const fs::path real = fs::canonical(file);
    copy(real, real);
    fs::resize_file(root() / real.relative_path(), 64 << 10);
    std::fstream(root() / real.relative_path(), std::ios::in | std::ios::out | std::ios::binary)
        .seekp(kTypeAt)
        .put(kCore);
    if (real == file) return;
    fs::create_directories((root() / file.relative_path()).parent_path());
    fs::create_symlink(real, root() / file.relative_path());
  }

  ProcessResult run(std::vector<std::string> words, json* object,
                    const Environment& changes = {}) const {
    words.insert(words.begin(), {KILN_BARE_ROOT, root().string(), "/bin/jitctl"});
    words.emplace_back("--json");
    Environment environment = {{"HOME", "/"},
                               {"XDG_CACHE_HOME", ""},
                               {"LD_LIBRARY_PATH", ""},
                               {"KILN_CACHE_DIR", "/cache"},
                               {"KILN_CACHE_LAYERS", "/layer"},
                               {"KILN_CACHE_POLICY", ""},
                               {"KILN_TOOLCHAIN", ""},
                               {"KILN_LLVM_LIBRARY", ""}};
    for (const auto& [name, value] : changes) environment[name] = value;
    ProcessResult result = run_process(words, environment);
    *object = json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    if (object->is_discarded()) *object = nullptr;
    return result;
  }

 private:
  TempFolder folder_;
};

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

#define SKIP_WHERE_NOT_PERMITTED(result)                                                   \
  if ((result).exit_code == kNotPermitted) {                                               \
    GTEST_SKIP() << "no mount namespace of one's own is permitted here: " << (result).err; \
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
