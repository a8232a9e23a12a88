// SPDX-License-Identifier: Apache-2.0
// When a driver's library is opened, and what is said when it cannot be.
#include <fstream>

#include "tests/runtime/drivers/gpu_fixture.h"

namespace kiln::test {
namespace {

class GpuOpenTest : public GpuTest {};

bool is_mapped(const std::filesystem::path& library) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(library.string()) != std::string::npos) return true;
  }
  return false;
}

TEST_P(GpuOpenTest, LoadsNothingBeforeTheFirstCallThatNeedsIt) {
  EXPECT_EQ(driver->name(), gpu().name);
  EXPECT_FALSE(is_mapped(library.path()));
  ASSERT_TRUE(driver->devices());
  EXPECT_TRUE(is_mapped(library.path()));
}

TEST_P(GpuOpenTest, ListsDevicesWithTheirArchs) {
  const auto devices = driver->devices();
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 2U);
  for (int i = 0; i < 2; ++i) {
    const DeviceInfo& device = (*devices)[static_cast<std::size_t>(i)];
    EXPECT_EQ(device.index, i);
    EXPECT_EQ(device.name, "Stub GPU " + std::to_string(i));
    EXPECT_EQ(device.arch.name(), gpu().arch);
  }
}

TEST_P(GpuOpenTest, OpensOnce) {
  ASSERT_TRUE(driver->devices());
  ASSERT_TRUE(driver->devices());
  ASSERT_TRUE(driver->allocate(1, 16));
  const auto calls = library.calls();
  EXPECT_EQ(count(calls, gpu().init), 1);
  EXPECT_EQ(count(calls, gpu().count), 1);
}

TEST_P(GpuOpenTest, AbsentLibraryIsUnavailableAndNamesTheVariable) {
  const auto devices = gpu().make_driver("/nonexistent/lib.so")->devices();
  ASSERT_FALSE(devices);
  EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(has(devices.error().message, gpu().override_variable));
  EXPECT_TRUE(has(devices.error().message, "/nonexistent/lib.so"));
}

TEST_P(GpuOpenTest, MissingRequiredFunctionIsUnavailableAndNamesIt) {
  const StubLibrary incomplete(gpu().stub_incomplete);
  const auto devices = gpu().make_driver(incomplete.path())->devices();
  ASSERT_FALSE(devices);
  EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(has(devices.error().message, gpu().unload));
  EXPECT_TRUE(has(devices.error().message, incomplete.path().string()));
}

TEST_P(GpuOpenTest, MissingOptionalFunctionsAreDoneWithout) {
  StubLibrary old(gpu().stub_old);
  const auto old_driver = gpu().make_driver(old.path());
  const auto devices = old_driver->devices();
  ASSERT_TRUE(devices) << devices.error().message;
  EXPECT_EQ(devices->at(1).arch.name(), gpu().arch);
  const auto capturing = old_driver->is_capturing(0, {});
  ASSERT_TRUE(capturing);
  EXPECT_FALSE(*capturing);
  const auto module = old_driver->load(0, artifact());
  ASSERT_TRUE(module) << module.error().message;
  LaunchStep step;
  step.dims.programmatic_dependent_launch = true;
  EXPECT_TRUE((*module)->launch(step, "12345678", 8, {}));
  EXPECT_EQ(count(old.calls(), gpu().launch), 1);
}

TEST_P(GpuOpenTest, NoDeviceIsUnavailable) {
  library.set("devices", 0);
  const auto devices = driver->devices();
  ASSERT_FALSE(devices);
  EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(has(devices.error().message, "VISIBLE_DEVICES"));
}

// HIP 5 answers 101 where there is no device.
TEST_P(GpuOpenTest, InitThatFindsNoDeviceIsUnavailable) {
  for (const int status : {100, 101}) {
    library.fail(gpu().init, status);
    const auto module = driver->load(0, artifact());
    ASSERT_FALSE(module);
    EXPECT_EQ(module.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(has(module.error().message, "VISIBLE_DEVICES"));
    EXPECT_TRUE(has(module.error().message, "(" + std::to_string(status) + ")"));
  }
}

TEST_P(GpuOpenTest, InitFailuresSayWhatToDo) {
  const std::pair<int, const char*> cases[] = {{3, "spawn"},
                                               {34, "for linking only"},
                                               {36, "newer"},
                                               {802, "fabric manager"},
                                               {803, "differ in version"},
                                               {999, "dmesg"}};
  for (const auto& [status, advice] : cases) {
    library.fail(gpu().init, status);
    const auto devices = driver->devices();
    ASSERT_FALSE(devices);
    EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(has(devices.error().message, advice));
    EXPECT_TRUE(has(devices.error().message, "the stub's words"));
  }
}

TEST_P(GpuOpenTest, TriesAgainAfterAFailure) {
  library.fail(gpu().init, 802);
  ASSERT_FALSE(driver->devices());
  library.fail(gpu().init, 0);
  EXPECT_TRUE(driver->devices());
}

TEST_P(GpuOpenTest, UnknownDeviceIndexIsInvalid) {
  for (const int index : {-1, 2}) {
    const auto memory = driver->allocate(index, 16);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(memory.error().message, std::string(gpu().title) + " device " +
                                          std::to_string(index) + ": there are only 0, 1");
    EXPECT_EQ(driver->load(index, artifact()).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(driver->synchronize(index, {}).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(driver->is_capturing(index, {}).error().code, ErrorCode::invalid_argument);
  }
}

KILN_FOR_BOTH_VENDORS(GpuOpenTest);

}  // namespace
}  // namespace kiln::test
