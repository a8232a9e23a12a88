// SPDX-License-Identifier: Apache-2.0
// Loading code and launching it.
#include "tests/runtime/drivers/gpu_fixture.h"

namespace kiln::test {
namespace {

class GpuModuleTest : public GpuTest {
 protected:
  std::unique_ptr<Module> load(std::vector<std::string> symbols = {"add_one"}) {
    auto module = driver->load(1, artifact(std::move(symbols)));
    if (!module) ADD_FAILURE() << module.error().message;
    library.calls();
    return module ? std::move(*module) : nullptr;
  }
  // CUDA's are counted once, with the stub's default; HIP's at each launch.
  unsigned multiprocessors() const { return std::string_view(gpu().name) == "cuda" ? 5 : 7; }
  // What is launched, without what surrounds it.
  std::vector<std::string> launches() {
    std::vector<std::string> found;
    for (std::string& call : library.calls()) {
      if (call.starts_with(gpu().launch)) found.push_back(std::move(call));
    }
    return found;
  }
};

TEST_P(GpuModuleTest, LaunchPassesEverything) {
  const auto module = load({"add_one", "add_two"});
  LaunchStep step;
  step.entry = 1;
  step.dims.grid = {2, 3, 4};
  step.dims.block = {32, 5, 6};
  step.dims.shared_bytes_dynamic = 65536;
  const unsigned char params[8] = {1, 2, 3, 4, 5, 6, 7, 255};
  ASSERT_TRUE(module->launch(step, params, sizeof params, {reinterpret_cast<void*>(0x70)}));
  const std::vector<std::string> expected = {
      std::string(gpu().launch) +
      "@1 add_two grid 2,3,4 block 32,5,6 shared 65536 stream 0x70 params 01020304050607ff"};
  EXPECT_EQ(launches(), expected);
}

TEST_P(GpuModuleTest, AGridThatFillsTheDeviceIsCutToWhatItHoldsAtOnce) {
  const auto module = load();
  library.set("multiprocessors", 7);
  library.set("resident", 3);
  LaunchStep step;
  step.dims.block = {64, 1, 1};
  const auto grid_of = [&](unsigned blocks, bool fill) {
    step.dims.grid = {blocks, 1, 1};
    step.dims.fill_device = fill;
    EXPECT_TRUE(module->launch(step, "12345678", 8, {}));
    const std::string call = launches().at(0);
    return call.substr(call.find("grid "), call.find(" block") - call.find("grid "));
  };
  const unsigned held = multiprocessors() * 3;
  EXPECT_EQ(grid_of(1000, true), "grid " + std::to_string(held) + ",1,1");
  EXPECT_EQ(grid_of(held - 1, true), "grid " + std::to_string(held - 1) + ",1,1");
  EXPECT_EQ(grid_of(1000, false), "grid 1000,1,1");
  library.set("resident", 0);  // the library cannot tell
  EXPECT_EQ(grid_of(1000, true), "grid 1000,1,1");
}

TEST_P(GpuModuleTest, LaunchLeavesTheCallersDevice) {
  const auto module = load();
  library.make_current(0);
  ASSERT_TRUE(module->launch({}, "12345678", 8, {}));
  EXPECT_EQ(library.current_device(), 0);
  library.fail(gpu().launch, 1);
  ASSERT_FALSE(module->launch({}, "12345678", 8, {}));
  EXPECT_EQ(library.current_device(), 0);
}

TEST_P(GpuModuleTest, RefusedDimsAreInvalidAndNamed) {
  const auto module = load();
  library.fail(gpu().launch, 1);
  LaunchStep step;
  step.dims.block = {2048, 1, 1};
  const auto launched = module->launch(step, "12345678", 8, {});
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(launched.error().message,
                  "of 'add_one<bf16>' with grid 1x1x1, block 2048x1x1, 0 bytes of dynamic "
                  "shared memory on device 1 (Stub GPU 1): STUB_INVALID_VALUE (1)"));
}

TEST_P(GpuModuleTest, EarlierKernelsFailureIsTheDriversFailure) {
  const auto module = load();
  library.fail(gpu().launch, 700);
  const auto launched = module->launch({}, "12345678", 8, {});
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().code, ErrorCode::driver_failed);
  EXPECT_TRUE(has(launched.error().message, "start the process again"));
}

TEST_P(GpuModuleTest, UnknownEntryAndNullParametersAreInvalid) {
  const auto module = load();
  LaunchStep step;
  step.entry = 1;
  const auto unknown = module->launch(step, "12345678", 8, {});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(unknown.error().message, "entry 1 of a kernel that has 1"));
  const auto null = module->launch({}, nullptr, 8, {});
  ASSERT_FALSE(null);
  EXPECT_EQ(null.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(launches().size(), 0U);
}

TEST_P(GpuModuleTest, UnloadsWhenItDies) {
  auto module = load();
  driver.reset();
  EXPECT_EQ(count(library.calls(), gpu().unload), 0);
  module.reset();
  EXPECT_TRUE(has_call(library.calls(), std::string(gpu().unload) + "@1"));
}

TEST_P(GpuModuleTest, OtherKindOfCodeIsInvalid) {
  Artifact other = artifact();
  other.format = CodeFormat::shared_object;
  const auto module = driver->load(0, other);
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(has(module.error().message, "not shared_object"));
  EXPECT_TRUE(has(module.error().message, name_of(gpu().format)));
}

TEST_P(GpuModuleTest, RejectedCodeIsTheDriversFailure) {
  for (const int status : {200, 209, 218, 300}) {
    library.fail(gpu().load, status);
    const auto module = driver->load(0, artifact());
    ASSERT_FALSE(module);
    EXPECT_EQ(module.error().code, ErrorCode::driver_failed) << status;
    EXPECT_TRUE(has(module.error().message, "(" + std::to_string(status) + ")"));
  }
  const auto calls = library.calls();
  EXPECT_EQ(count(calls, gpu().unload), 0);
}

TEST_P(GpuModuleTest, CutCodeNeverReachesTheLibrary) {
  Artifact cut = artifact();
  cut.code.resize(cut.code.size() - 1);
  const auto module = driver->load(0, cut);
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::driver_failed);
  EXPECT_TRUE(has(module.error().message, "end before its last section"));
  EXPECT_EQ(count(library.calls(), gpu().load), 0);
}

TEST_P(GpuModuleTest, MissingSymbolIsTheDriversFailureAndLeavesNothingLoaded) {
  const auto module = driver->load(1, artifact({"add_one", "missing_two"}));
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::driver_failed);
  EXPECT_TRUE(has(module.error().message,
                  "kernel 'missing_two<bf16>': its code has no symbol 'missing_two'"));
  const auto calls = library.calls();
  EXPECT_EQ(count(calls, gpu().load), 1);
  EXPECT_EQ(count(calls, gpu().unload), 1);
}

TEST_P(GpuModuleTest, LoadFailuresLeaveTheCallersDevice) {
  ASSERT_TRUE(driver->devices());
  library.make_current(0);
  EXPECT_FALSE(driver->load(1, artifact({"missing"})));
  EXPECT_EQ(library.current_device(), 0);
  library.fail(gpu().find, 1);
  EXPECT_FALSE(driver->load(1, artifact()));
  EXPECT_EQ(library.current_device(), 0);
  library.fail(gpu().load, 200);
  EXPECT_FALSE(driver->load(1, artifact()));
  EXPECT_EQ(library.current_device(), 0);
}

KILN_FOR_BOTH_VENDORS(GpuModuleTest);

}  // namespace
}  // namespace kiln::test
