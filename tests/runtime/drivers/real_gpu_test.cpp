// SPDX-License-Identifier: Apache-2.0
// On a real GPU where there is one; else skipped with the driver's own reason.
#include <gtest/gtest.h>

#include <string_view>

#include "runtime/drivers/cuda_driver.h"
#include "runtime/drivers/hip_driver.h"

namespace kiln::test {
namespace {

// x[i] = x[i] + addend for the one block's threads; 16 bytes of parameters: x, addend.
constexpr std::string_view kAddPtx = R"(
.version 6.0
.target sm_60
.address_size 64
.visible .entry add(.param .align 8 .b8 params[16]) {
  .reg .b32 %r<4>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [params];
  ld.param.u32 %r1, [params+8];
  mov.u32 %r2, %tid.x;
  cvta.to.global.u64 %rd1, %rd1;
  mul.wide.u32 %rd2, %r2, 4;
  add.s64 %rd1, %rd1, %rd2;
  ld.global.u32 %r3, [%rd1];
  add.s32 %r3, %r3, %r1;
  st.global.u32 [%rd1], %r3;
  ret;
}
)";

struct AddParams {
  void* x;
  int addend;
};

void copies_there_and_back(Driver& driver, int index) {
  std::vector<int> host(1000);
  for (int i = 0; i < 1000; ++i) host[static_cast<std::size_t>(i)] = i;
  const std::size_t bytes = host.size() * sizeof(int);
  const auto memory = driver.allocate(index, bytes);
  ASSERT_TRUE(memory) << memory.error().message;
  ASSERT_TRUE(driver.copy_to_device(index, (*memory)->data(), host.data(), bytes));
  std::vector<int> back(host.size(), -1);
  ASSERT_TRUE(driver.copy_to_host(index, back.data(), (*memory)->data(), bytes));
  EXPECT_EQ(back, host);
  const auto capturing = driver.is_capturing(index, {});
  ASSERT_TRUE(capturing);
  EXPECT_FALSE(*capturing);
}

TEST(RealGpuTest, CudaRunsAKernelOnEachDevice) {
  const auto driver = make_cuda_driver({});
  const auto devices = driver->devices();
  if (!devices) {
    EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
    GTEST_SKIP() << devices.error().message;
  }
  Artifact artifact;
  artifact.format = CodeFormat::ptx;
  artifact.code = to_bytes(as_bytes(kAddPtx));
  artifact.entries = {{"add", "add", {}}};
  for (const DeviceInfo& device : *devices) {
    copies_there_and_back(*driver, device.index);
    const auto module = driver->load(device.index, artifact);
    ASSERT_TRUE(module) << module.error().message << module.error().log;
    const auto memory = driver->allocate(device.index, 32 * sizeof(int));
    ASSERT_TRUE(memory);
    const std::vector<int> before(32, 40);
    ASSERT_TRUE(
        driver->copy_to_device(device.index, (*memory)->data(), before.data(), 32 * sizeof(int)));
    LaunchStep step;
    step.dims.block = {32, 1, 1};
    step.dims.programmatic_dependent_launch = true;
    AddParams params{(*memory)->data(), 2};
    const auto launched = (*module)->launch(step, &params, sizeof params, {});
    params = {};  // they were copied
    ASSERT_TRUE(launched) << launched.error().message;
    ASSERT_TRUE(driver->synchronize(device.index, {}));
    std::vector<int> after(32);
    ASSERT_TRUE(
        driver->copy_to_host(device.index, after.data(), (*memory)->data(), 32 * sizeof(int)));
    EXPECT_EQ(after, std::vector<int>(32, 42));
    step.dims.block = {4096, 1, 1};
    EXPECT_EQ((*module)->launch(step, &params, sizeof params, {}).error().code,
              ErrorCode::invalid_argument);
  }
}

TEST(RealGpuTest, HipCopiesOnEachDevice) {
  const auto driver = make_hip_driver({{}, {"/opt/rocm"}});
  const auto devices = driver->devices();
  if (!devices) {
    EXPECT_EQ(devices.error().code, ErrorCode::unavailable);
    GTEST_SKIP() << devices.error().message;
  }
  for (const DeviceInfo& device : *devices) copies_there_and_back(*driver, device.index);
}

}  // namespace
}  // namespace kiln::test
