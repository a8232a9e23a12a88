// SPDX-License-Identifier: Apache-2.0
// What a process has mapped: no vendor library before the first compile, none at all when warm.
#include <gtest/gtest.h>

#include <fstream>

#include "kiln/kiln.h"
#include "runtime/reference/trial.h"
#include "tests/support/temp_folder.h"
#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

// The vendor libraries that this process has mapped.
std::vector<std::string> vendor_libraries() {
  std::vector<std::string> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    for (const char* name : {"libcuda", "libnvrtc", "libamdhip", "libhiprtc", "libamd_comgr",
                             "libLLVM", "libclang", "libkiln_llvm"}) {
      if (line.find(name) != std::string::npos) found.push_back(line);
    }
  }
  return found;
}

Options options_with_cache(const TempFolder& folder) {
  Options options = *Options::from_environment();
  options.cache_folder = folder.path() / "cache";
  options.cache_policy = CachePolicy::read_write;
  return options;
}

// Each in a process of its own (gtest_discover_tests), since a library never leaves once loaded.
TEST(Startup, NothingOfAVendorIsLoadedBeforeTheFirstCompile) {
  const TempFolder folder;
  const auto runtime = *Runtime::create(options_with_cache(folder));
  const Op& op = **find_op("kda_decode");
  const OpArguments arguments = *parse_arguments(op, {});
  const Arch arch = *Arch::parse("cpu");
  const auto selection = runtime->select(op, arguments.shape, arch);
  ASSERT_TRUE(selection) << selection.error().message;
  for (Compiler* compiler : runtime->compilers().all()) (void)compiler->toolchain();
  EXPECT_EQ(vendor_libraries(), std::vector<std::string>());

  const auto kernel = runtime->kernel(*selection, arguments.shape, arch);
  ASSERT_TRUE(kernel) << kernel.error().message << kernel.error().log;
  EXPECT_NE(vendor_libraries(), std::vector<std::string>())
      << "the compile should have loaded LLVM";
}

TEST(Startup, AWarmCpuRunLoadsNoVendorLibraryAtAll) {
  const TempFolder folder;
  ASSERT_EQ(run_process(
                {KILN_JITCTL, "prewarm", "kda_decode", "H=2", "HV=2"},
                {{"KILN_CACHE_DIR", (folder.path() / "cache").string()}, {"KILN_CACHE_POLICY", ""}})
                .exit_code,
            0);
  const auto runtime = *Runtime::create(options_with_cache(folder));
  const Op& op = **find_op("kda_decode");
  const std::vector<NameValue> given = {{"H", "2"}, {"HV", "2"}, {"batch", "1"}};
  const auto trial = make_trial(*runtime, op, *parse_arguments(op, given), *Arch::parse("cpu"), 1);
  ASSERT_TRUE(trial) << trial.error().message;
  ASSERT_TRUE((*trial)->launch());
  EXPECT_EQ(runtime->counters().disk_hits, 1U);
  EXPECT_EQ(runtime->counters().compiles, 0U);
  EXPECT_EQ(vendor_libraries(), std::vector<std::string>());
}

}  // namespace
}  // namespace kiln::test
