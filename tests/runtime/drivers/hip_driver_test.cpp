// SPDX-License-Identifier: Apache-2.0
// What only HIP has: two layouts of the properties, a last error, no clusters.
#include "runtime/drivers/hip_driver.h"

#include "jit/base/shared_library.h"
#include "tests/runtime/drivers/gpu_case.h"

namespace kiln::test {
namespace {

class HipDriverTest : public testing::Test {
 protected:
  StubLibrary library{KILN_STUB_HIP};
  std::unique_ptr<Driver> driver = make_hip_driver({library.path(), {}});
};

TEST_F(HipDriverTest, AsksForTheNewPropertiesWhereThereAreBoth) {
  ASSERT_TRUE(driver->devices());
  const auto calls = library.calls();
  EXPECT_EQ(count(calls, "hipGetDevicePropertiesR0600"), 2);
  EXPECT_EQ(count(calls, "hipGetDeviceProperties"), 0);
}

TEST_F(HipDriverTest, ReadsTheOldPropertiesWhereThereAreOnlyThese) {
  StubLibrary old(KILN_STUB_HIP_OLD);
  const auto devices = make_hip_driver({old.path(), {}})->devices();
  ASSERT_TRUE(devices) << devices.error().message;
  EXPECT_EQ(devices->front().name, "Stub GPU 0");
  EXPECT_EQ(devices->front().arch.name(), "gfx90a:sramecc+:xnack-");
  EXPECT_EQ(count(old.calls(), "hipGetDeviceProperties"), 2);
}

TEST_F(HipDriverTest, DeviceOfUnknownArchDoesNotHideTheOthers) {
  library.set("odd_arch_of", 0);
  const auto devices = driver->devices();
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 1U);
  EXPECT_EQ(devices->front().index, 1);
  EXPECT_TRUE(driver->allocate(1, 8));
  EXPECT_EQ(driver->allocate(0, 8).error().message, "HIP device 0: there are only 1");
}

TEST_F(HipDriverTest, OnlyDeviceOfUnknownArchIsTheReason) {
  library.set("odd_arch_of", 0);
  library.set("devices", 1);
  const auto devices = driver->devices();
  ASSERT_FALSE(devices);
  EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(has(devices.error().message, "device 0 (Stub GPU 0) is left out"));
  EXPECT_TRUE(has(devices.error().message, "'r600'"));
}

TEST_F(HipDriverTest, LeavesNoErrorBehindForTheHost) {
  library.fail("hipMalloc", 2);
  ASSERT_FALSE(driver->allocate(0, 8));
  auto opened = SharedLibrary::open(library.path());
  ASSERT_TRUE(opened);
  int (*last_error)() = nullptr;
  ASSERT_TRUE(opened->require("hipGetLastError", &last_error));
  EXPECT_EQ(last_error(), 0);
}

TEST_F(HipDriverTest, SetsADeviceOnlyWhereItIsAnother) {
  ASSERT_TRUE(driver->synchronize(0, {}));
  EXPECT_EQ(count(library.calls(), "hipSetDevice"), 0);
  ASSERT_TRUE(driver->synchronize(1, {}));
  EXPECT_EQ(count(library.calls(), "hipSetDevice"), 2);  // there and back
}

TEST_F(HipDriverTest, HasNoClustersAndIgnoresProgrammaticLaunch) {
  const auto module = driver->load(0, artifact_of(hip_case(), {"add_one"}));
  ASSERT_TRUE(module);
  LaunchStep step;
  step.dims.programmatic_dependent_launch = true;
  EXPECT_TRUE((*module)->launch(step, "12345678", 8, {}));
  step.dims.cluster = {2, 1, 1};
  const auto clustered = (*module)->launch(step, "12345678", 8, {});
  ASSERT_FALSE(clustered);
  EXPECT_EQ(clustered.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(clustered.error().message, "AMD GPUs have no clusters"));
}

}  // namespace
}  // namespace kiln::test
