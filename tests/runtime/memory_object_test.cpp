// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/memory_object.h"

#include <gtest/gtest.h>

#include "kiln/runtime.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

TEST(MemoryObject, RefusesWhatIsNoObject) {
  const auto loaded = MemoryObject::load(as_bytes("not an ELF file"));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::driver_failed);
  EXPECT_NE(loaded.error().message.find("15 bytes"), std::string::npos) << loaded.error().message;
}

TEST(MemoryObject, RefusesATruncatedObject) {
  test::LlvmRuntime llvm;
  if (!llvm.available()) GTEST_SKIP() << llvm.why_not();
  const auto prepared = llvm.runtime().prepare(test::add_constant(1));
  ASSERT_TRUE(prepared) << prepared.error().message << prepared.error().log;
  Bytes code = prepared->artifact->code;
  code.resize(code.size() / 3);
  EXPECT_FALSE(MemoryObject::load(code));
}

// The loader knows a library by its path, and file numbers are reused: each load must get its own
// code all the same.
TEST(MemoryObject, ReloadingUnderAReusedFileNumberGetsTheNewCode) {
  test::LlvmRuntime llvm;
  if (!llvm.available()) GTEST_SKIP() << llvm.why_not();
  for (int constant = 1; constant <= 3; ++constant) {
    const auto prepared = llvm.runtime().prepare(test::add_constant(constant));
    ASSERT_TRUE(prepared) << prepared.error().message << prepared.error().log;
    const auto loaded = MemoryObject::load(prepared->artifact->code);
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(loaded->find("no such symbol"), nullptr);
    auto* const entry =
        reinterpret_cast<KilnCpuEntry>(loaded->find(prepared->artifact->entries[0].symbol));
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(test::run_add_constant(entry, 10), 10 + constant);
  }
}

}  // namespace
}  // namespace kiln
