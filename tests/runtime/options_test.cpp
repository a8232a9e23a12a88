// SPDX-License-Identifier: Apache-2.0
#include "kiln/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace kiln {
namespace {

// Sets a variable for one test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

TEST(Options, CacheFolderFallsBackToXdgThenHomeThenNone) {
  const Variable home("HOME", "/home/someone");
  {
    const Variable own("KILN_CACHE_DIR", "/own");
    EXPECT_EQ(Options::from_environment()->cache_folder, "/own");
  }
  unsetenv("KILN_CACHE_DIR");
  {
    const Variable xdg("XDG_CACHE_HOME", "/xdg");
    EXPECT_EQ(Options::from_environment()->cache_folder, "/xdg/kiln");
  }
  unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(Options::from_environment()->cache_folder, "/home/someone/.cache/kiln");
  setenv("HOME", "", 1);
  EXPECT_EQ(Options::from_environment()->cache_folder, std::nullopt);
}

TEST(Options, PythonIsLookedForInTheEnvironmentThenOnThePath) {
  const Variable home("HOME", "/home/someone");
  const Variable environment("VIRTUAL_ENV", "/venv");
  const std::string saved = getenv("PATH") ? getenv("PATH") : "";
  setenv("PATH", "/no/bin:/usr/bin", 1);
  const auto prefixes = Options::from_environment()->compilers.python_prefixes;
  setenv("PATH", saved.c_str(), 1);
  ASSERT_GE(prefixes.size(), 4u);
  EXPECT_EQ(prefixes.front(), "/venv");
  for (const char* folder : {"/home/someone/.local", "/usr/local", "/usr"}) {
    EXPECT_EQ(std::count(prefixes.begin(), prefixes.end(), folder), 1) << folder;
  }
}

// What else changes the code that a vendor's compiler makes must be read, to become part of its
// toolchain (ToolchainKey in tests/jit).
TEST(Options, VariablesThatChangeCodeGenerationAreTakenAlong) {
  const CompilerSettings plain = Options::from_environment()->compilers;
  for (const char* name : {"NVRTC_PREPEND_FLAGS", "NVRTC_APPEND_FLAGS"}) {
    const Variable set(name, "-lineinfo");
    const CompilerSettings changed = Options::from_environment()->compilers;
    EXPECT_EQ(changed.nvrtc_environment.find(name), "-lineinfo");
    EXPECT_EQ(changed.hiprtc_environment, plain.hiprtc_environment);
  }
  for (const char* name : {"HIPRTC_COMPILE_OPTIONS_APPEND", "HIPRTC_LINK_OPTIONS_APPEND",
                           "HIP_DEVICE_LIB_PATH", "GPU_ENABLE_WGP_MODE"}) {
    const Variable set(name, "1");
    const CompilerSettings changed = Options::from_environment()->compilers;
    EXPECT_EQ(changed.hiprtc_environment.find(name), "1");
    EXPECT_EQ(changed.nvrtc_environment, plain.nvrtc_environment);
  }
}

TEST(Options, DumpsOnRequestOnly) {
  EXPECT_EQ(Options::from_environment()->dump_folder, std::nullopt);
  const Variable dump("KILN_DUMP", "/dumps");
  EXPECT_EQ(Options::from_environment()->dump_folder, "/dumps");
}

TEST(Options, LayersAreAbsoluteFoldersInOrder) {
  {
    const Variable layers("KILN_CACHE_LAYERS", ":/image/kernels::/opt/kernels:");
    EXPECT_EQ(Options::from_environment()->cache_layers,
              (std::vector<std::filesystem::path>{"/image/kernels", "/opt/kernels"}));
  }
  const Variable relative("KILN_CACHE_LAYERS", "/image/kernels:kernels");
  const auto refused = Options::from_environment();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("'kernels' is none"), std::string::npos)
      << refused.error().message;
}

TEST(Options, SizesTakeUnits) {
  const std::vector<std::pair<const char*, std::uint64_t>> sizes = {
      {"0", 0}, {"123", 123}, {"4K", 4096}, {"3M", 3 << 20}, {"2G", std::uint64_t{2} << 30}};
  for (const auto& [text, bytes] : sizes) {
    const Variable size("KILN_CACHE_SIZE", text);
    EXPECT_EQ(Options::from_environment()->cache_size_bytes_max, bytes) << text;
  }
  for (const char* text : {"G", "1GB", "-1", "1.5G", "99999999999T", "18446744073709551616"}) {
    const Variable size("KILN_CACHE_SIZE", text);
    EXPECT_FALSE(Options::from_environment()) << text;
  }
}

TEST(Options, WordsAreReadAndRefused) {
  {
    const Variable policy("KILN_CACHE_POLICY", "locked");
    const Variable toolchain("KILN_TOOLCHAIN", "exact");
    EXPECT_EQ(Options::from_environment()->cache_policy, CachePolicy::locked);
    EXPECT_EQ(Options::from_environment()->toolchain_policy, ToolchainPolicy::exact);
  }
  {
    const Variable isolation("KILN_ISOLATION", "all");
    const Variable worker("KILN_WORKER", "/a/worker");
    EXPECT_EQ(Options::from_environment()->compilers.isolation, Isolation::all);
    EXPECT_EQ(Options::from_environment()->compilers.worker_program, "/a/worker");
  }
  EXPECT_EQ(Options::from_environment()->compilers.isolation, Isolation::hiprtc);
  {
    const Variable isolation("KILN_ISOLATION", "on");
    EXPECT_EQ(Options::from_environment().error().message,
              "KILN_ISOLATION='on': accepted: off, hiprtc, all");
  }
  const Variable policy("KILN_CACHE_POLICY", "Locked");
  const auto options = Options::from_environment();
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().message,
            "KILN_CACHE_POLICY='Locked': accepted: read_write, read_only, locked, off");
}

}  // namespace
}  // namespace kiln
