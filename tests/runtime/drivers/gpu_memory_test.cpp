// SPDX-License-Identifier: Apache-2.0
// Memory, copies, waiting, the capture query; and the caller's device, which they leave alone.
#include "tests/runtime/drivers/gpu_fixture.h"

namespace kiln::test {
namespace {

class GpuMemoryTest : public GpuTest {};

Stream stream_of(std::uintptr_t value) {
  return {reinterpret_cast<void*>(value)};
}

TEST_P(GpuMemoryTest, CopiesThereAndBack) {
  const auto memory = driver->allocate(1, 8);
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ((*memory)->size_bytes(), 8U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*memory)->data()) % 256, 0U);
  ASSERT_TRUE(driver->copy_to_device(1, (*memory)->data(), "1234567", 8));
  char back[8] = {};
  ASSERT_TRUE(driver->copy_to_host(1, back, (*memory)->data(), 8));
  EXPECT_STREQ(back, "1234567");
  const auto calls = library.calls();
  EXPECT_TRUE(has_call(calls, std::string(gpu().to_device) + "@1 8"));
  EXPECT_TRUE(has_call(calls, std::string(gpu().to_host) + "@1 8"));
  // The copy to the device may still be under way when the vendor's call returns.
  EXPECT_TRUE(has_call(calls, std::string(gpu().synchronize) + "@1 0x0"));
}

TEST_P(GpuMemoryTest, IsFreedOnItsDevice) {
  ASSERT_TRUE(driver->allocate(1, 8));
  EXPECT_TRUE(has_call(library.calls(), std::string(gpu().release) + "@1"));
}

TEST_P(GpuMemoryTest, OutlivesItsDriver) {
  auto memory = driver->allocate(0, 8);
  ASSERT_TRUE(memory);
  driver.reset();
  EXPECT_EQ(count(library.calls(), gpu().release), 0);
  memory->reset();
  EXPECT_EQ(count(library.calls(), gpu().release), 1);
}

TEST_P(GpuMemoryTest, NothingIsMemoryToo) {
  const auto memory = driver->allocate(0, 0);
  ASSERT_TRUE(memory);
  EXPECT_EQ((*memory)->size_bytes(), 0U);
  EXPECT_TRUE(driver->copy_to_device(0, nullptr, nullptr, 0));
  EXPECT_TRUE(driver->copy_to_host(0, nullptr, nullptr, 0));
  const auto calls = library.calls();
  EXPECT_TRUE(has_call(calls, std::string(gpu().allocate) + "@0 1"));
  EXPECT_EQ(count(calls, gpu().to_device) + count(calls, gpu().to_host), 0);
}

TEST_P(GpuMemoryTest, NullPointersAreInvalid) {
  char host[8] = {};
  const auto to_device = driver->copy_to_device(0, nullptr, host, 8);
  ASSERT_FALSE(to_device);
  EXPECT_EQ(to_device.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(to_device.error().message, "8 bytes with a null pointer to device"));
  EXPECT_TRUE(has(driver->copy_to_host(0, nullptr, host, 8).error().message, "to host"));
}

TEST_P(GpuMemoryTest, OutOfMemorySaysHowMuchAndWhere) {
  library.fail(gpu().allocate, 2);
  const auto memory = driver->allocate(1, 12345);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, ErrorCode::out_of_memory);
  EXPECT_TRUE(has(memory.error().message,
                  "of 12345 bytes on device 1 (Stub GPU 1): STUB_OUT_OF_MEMORY (2)"));
}

TEST_P(GpuMemoryTest, SynchronizesTheStreamGiven) {
  ASSERT_TRUE(driver->synchronize(1, stream_of(0x50)));
  EXPECT_TRUE(has_call(library.calls(), std::string(gpu().synchronize) + "@1 0x50"));
}

TEST_P(GpuMemoryTest, BrokenContextSaysThatTheProcessMustStartAgain) {
  library.fail(gpu().synchronize, 700);
  const auto waited = driver->synchronize(0, {});
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::driver_failed);
  EXPECT_TRUE(has(waited.error().message, "STUB_ILLEGAL_ADDRESS (700), the stub's words"));
  EXPECT_TRUE(has(waited.error().message, "start the process again"));
}

TEST_P(GpuMemoryTest, TellsWhetherAStreamIsCaptured) {
  constexpr std::pair<int, bool> kCases[] = {{0, false}, {1, true}, {2, true}};  // 2: invalidated
  for (const auto& [status, expected] : kCases) {
    library.set("capture", status);
    const auto capturing = driver->is_capturing(1, stream_of(0x50));
    ASSERT_TRUE(capturing);
    EXPECT_EQ(*capturing, expected) << status;
  }
  EXPECT_TRUE(has_call(library.calls(), std::string(gpu().is_capturing) + "@1 0x50"));
}

// What the vendors answer for the null stream while a stream is captured that it waits for.
TEST_P(GpuMemoryTest, ImplicitCaptureCounts) {
  library.fail(gpu().is_capturing, 906);
  const auto capturing = driver->is_capturing(0, {});
  ASSERT_TRUE(capturing);
  EXPECT_TRUE(*capturing);
}

TEST_P(GpuMemoryTest, CallsDuringACaptureSayWhen) {
  library.fail(gpu().allocate, 900);
  EXPECT_TRUE(has(driver->allocate(0, 8).error().message, "before the capture"));
}

TEST_P(GpuMemoryTest, LeavesTheCallersDevice) {
  ASSERT_TRUE(driver->devices());
  for (const int before : {0, 1}) {
    library.make_current(before);
    for (const int index : {0, 1}) {
      const auto memory = driver->allocate(index, 8);
      ASSERT_TRUE(memory);
      EXPECT_TRUE(driver->copy_to_device(index, (*memory)->data(), "1234567", 8));
      EXPECT_TRUE(driver->synchronize(index, {}));
      EXPECT_TRUE(driver->is_capturing(index, {}));
      EXPECT_EQ(library.current_device(), before);
    }
    EXPECT_EQ(library.current_device(), before);
  }
}

TEST_P(GpuMemoryTest, LeavesTheCallersDeviceWhenCallsFail) {
  const auto memory = driver->allocate(1, 8);
  ASSERT_TRUE(memory);
  char host[8] = {};
  const int before = library.current_device();
  for (const char* call :
       {gpu().allocate, gpu().to_device, gpu().to_host, gpu().synchronize, gpu().is_capturing}) {
    library.fail(call, 1);
  }
  EXPECT_FALSE(driver->allocate(1, 8));
  EXPECT_FALSE(driver->copy_to_device(1, (*memory)->data(), host, 8));
  EXPECT_FALSE(driver->copy_to_host(1, host, (*memory)->data(), 8));
  EXPECT_FALSE(driver->synchronize(1, {}));
  EXPECT_FALSE(driver->is_capturing(1, {}));
  EXPECT_EQ(library.current_device(), before);
}

KILN_FOR_BOTH_VENDORS(GpuMemoryTest);

}  // namespace
}  // namespace kiln::test
