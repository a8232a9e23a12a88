// SPDX-License-Identifier: Apache-2.0
// What only CUDA has: contexts, capabilities, clusters and programmatic launch, PTX.
#include "runtime/drivers/cuda_driver.h"

#include <algorithm>

#include "tests/runtime/drivers/gpu_case.h"

namespace kiln::test {
namespace {

class CudaDriverTest : public testing::Test {
 protected:
  std::unique_ptr<Module> load(Driver& on,
                               const Artifact& artifact = artifact_of(cuda_case(), {"add_one"})) {
    auto module = on.load(1, artifact);
    if (!module) ADD_FAILURE() << module.error().message;
    return module ? std::move(*module) : nullptr;
  }

  StubLibrary library{KILN_STUB_CUDA};
  std::unique_ptr<Driver> driver = make_cuda_driver({library.path()});
};

constexpr const char* kPlain = "grid 1,1,1 block 1,1,1 shared 0 stream 0x0 params 3132333435363738";

LaunchStep step_with(Dim3 cluster, bool programmatic) {
  LaunchStep step;
  step.dims.cluster = cluster;
  step.dims.programmatic_dependent_launch = programmatic;
  return step;
}

TEST(CudaArchTest, FollowsTheComputeCapability) {
  struct Case {
    int major, minor;
    const char* arch;
  };
  constexpr Case kCases[] = {{7, 5, "sm_75"},    {8, 0, "sm_80"},    {8, 9, "sm_89"},
                             {9, 0, "sm_90a"},   {10, 0, "sm_100a"}, {10, 3, "sm_103a"},
                             {12, 0, "sm_120a"}, {12, 1, "sm_121a"}};
  for (const Case& expected : kCases) {
    StubLibrary library(KILN_STUB_CUDA);
    library.set("major", expected.major);
    library.set("minor", expected.minor);
    const auto devices = make_cuda_driver({library.path()})->devices();
    ASSERT_TRUE(devices) << devices.error().message;
    EXPECT_EQ(devices->front().arch.name(), expected.arch);
  }
}

TEST_F(CudaDriverTest, RetainsTheContextOfADeviceOnceAndGivesItBack) {
  auto module = load(*driver);
  ASSERT_TRUE(driver->allocate(1, 8));
  EXPECT_TRUE(driver->synchronize(1, {}));
  auto calls = library.calls();
  EXPECT_TRUE(has_call(calls, "cuDevicePrimaryCtxRetain@- 1"));
  EXPECT_EQ(count(calls, "cuDevicePrimaryCtxRetain"), 1);  // none for device 0
  EXPECT_EQ(count(calls, "cuCtxPushCurrent_v2"), count(calls, "cuCtxPopCurrent_v2"));
  driver.reset();
  EXPECT_EQ(count(library.calls(), "cuDevicePrimaryCtxRelease_v2"), 0);
  module.reset();  // the last that uses it
  calls = library.calls();
  EXPECT_EQ(calls.back(), "cuDevicePrimaryCtxRelease_v2@- 1");
}

TEST_F(CudaDriverTest, ContextThatCannotBeHadIsAskedForAgain) {
  library.fail("cuDevicePrimaryCtxRetain", 46);
  const auto memory = driver->allocate(0, 8);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, ErrorCode::driver_failed);
  EXPECT_TRUE(has(memory.error().message, "another process has the device to itself"));
  library.fail("cuDevicePrimaryCtxRetain", 0);
  EXPECT_TRUE(driver->allocate(0, 8));
}

TEST_F(CudaDriverTest, FailedPushPopsNothing) {
  ASSERT_TRUE(driver->allocate(0, 8));
  library.make_current(1);
  library.fail("cuCtxPushCurrent_v2", 709);
  const auto memory = driver->allocate(0, 8);
  ASSERT_FALSE(memory);
  EXPECT_TRUE(has(memory.error().message, "was reset in this process"));
  EXPECT_EQ(library.current_device(), 1);
}

TEST_F(CudaDriverTest, LoadOptsInToAllSharedMemoryAndLoadsTheFunction) {
  load(*driver);
  const auto calls = library.calls();
  EXPECT_TRUE(has_call(calls, "cuFuncSetAttribute@1 8 to " + std::to_string(232448 - 1024)));
  EXPECT_EQ(count(calls, "cuFuncLoad"), 1);
}

TEST_F(CudaDriverTest, DeviceWithoutMoreSharedMemoryIsNotAsked) {
  library.set("shared_optin", 48 * 1024);
  load(*driver);
  EXPECT_EQ(count(library.calls(), "cuFuncSetAttribute"), 0);
}

TEST_F(CudaDriverTest, PlainLaunchWithoutAttributes) {
  const auto module = load(*driver);
  ASSERT_TRUE(module->launch({}, "12345678", 8, {}));
  const auto calls = library.calls();
  EXPECT_TRUE(has_call(calls, std::string("cuLaunchKernel@1 add_one ") + kPlain));
  EXPECT_EQ(count(calls, "cuLaunchKernelEx"), 0);
}

TEST_F(CudaDriverTest, ClusterAndProgrammaticLaunchAreAttributes) {
  const auto module = load(*driver);
  library.calls();
  ASSERT_TRUE(module->launch(step_with({2, 1, 1}, false), "12345678", 8, {}));
  ASSERT_TRUE(module->launch(step_with({1, 1, 1}, true), "12345678", 8, {}));
  ASSERT_TRUE(module->launch(step_with({2, 3, 4}, true), "12345678", 8, {}));
  std::vector<std::string> launches;
  for (const std::string& call : library.calls()) {
    if (call.starts_with("cuLaunch")) launches.push_back(call);
  }
  const std::string launch = std::string("cuLaunchKernelEx@1 add_one ") + kPlain;
  const std::vector<std::string> expected = {launch + " cluster 2,1,1",
                                             launch + " attribute 6 is 1",
                                             launch + " cluster 2,3,4 attribute 6 is 1"};
  EXPECT_EQ(launches, expected);
}

TEST_F(CudaDriverTest, BeforeSm90ThereAreNoClustersAndProgrammaticLaunchIsIgnored) {
  library.set("major", 8);
  const auto module = load(*driver);
  const auto clustered = module->launch(step_with({2, 1, 1}, false), "12345678", 8, {});
  ASSERT_FALSE(clustered);
  EXPECT_EQ(clustered.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(clustered.error().message, "cluster 2x1x1 on device 1"));
  EXPECT_TRUE(has(clustered.error().message, "sm_90"));
  EXPECT_TRUE(module->launch(step_with({1, 1, 1}, true), "12345678", 8, {}));
  EXPECT_EQ(count(library.calls(), "cuLaunchKernel"), 1);
}

TEST_F(CudaDriverTest, LibraryWithoutExtendedLaunchSaysSoForClusters) {
  StubLibrary old(KILN_STUB_CUDA_OLD);
  const auto old_driver = make_cuda_driver({old.path()});
  const auto module = load(*old_driver);
  const auto clustered = module->launch(step_with({2, 1, 1}, false), "12345678", 8, {});
  ASSERT_FALSE(clustered);
  EXPECT_TRUE(has(clustered.error().message, "has no cuLaunchKernelEx"));
  EXPECT_TRUE(module->launch(step_with({1, 1, 1}, true), "12345678", 8, {}));
  EXPECT_EQ(count(old.calls(), "cuLaunchKernel"), 1);
}

TEST_F(CudaDriverTest, ParametersOfAnotherSizeAreInvalid) {
  library.set("param_bytes", 16);
  const auto module = load(*driver);
  const auto launched = module->launch({}, "12345678", 8, {});
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(launched.error().message, "with 8 bytes of parameters; it takes 16"));
}

TEST_F(CudaDriverTest, PtxReachesTheLibraryWithAnEnd) {
  Artifact ptx = artifact_of(cuda_case(), {"add_one"});
  ptx.format = CodeFormat::ptx;
  ptx.code = to_bytes(as_bytes(".version 8.0 END and what lies behind it in memory"));
  ptx.code.resize(std::string_view(".version 8.0 END").size());
  load(*driver, ptx);
  const auto calls = library.calls();
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "cuModuleLoadDataEx@1 .version 8.0 END"), 1);
}

TEST_F(CudaDriverTest, RejectedPtxBringsTheDriversLog) {
  Artifact ptx = artifact_of(cuda_case(), {"add_one"});
  ptx.format = CodeFormat::ptx;
  library.fail("cuModuleLoadDataEx", 222);
  const auto module = driver->load(0, ptx);
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::driver_failed);
  EXPECT_EQ(module.error().log, "ptxas: no");
  EXPECT_TRUE(has(module.error().message, "PTX is newer than the driver"));
}

#ifdef KILN_CUDA_LINK_STUB
// The toolkit's own library for linking has the real functions and answers that it is no driver.
TEST(CudaToolkitStubTest, HasEveryRequiredFunctionAndSaysWhatItIs) {
  const auto devices = make_cuda_driver({KILN_CUDA_LINK_STUB})->devices();
  ASSERT_FALSE(devices);
  EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(has(devices.error().message, "CUDA: cuInit: "));
  EXPECT_TRUE(has(devices.error().message, "(34)"));
}
#endif

}  // namespace
}  // namespace kiln::test
