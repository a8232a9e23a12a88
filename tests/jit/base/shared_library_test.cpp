// SPDX-License-Identifier: Apache-2.0
#include "jit/base/shared_library.h"

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

TEST(SharedLibrary, OpensAndFindsSymbols) {
  auto library = SharedLibrary::open(KILN_ELF_FIXTURE);
  ASSERT_TRUE(library) << library.error().message;
  int (*function)() = nullptr;
  ASSERT_TRUE(library->require("kiln_elf_fixture", &function));
  EXPECT_EQ(function(), 1);
  EXPECT_EQ(library->find("no_such_function"), nullptr);

  const SharedLibrary moved = std::move(*library);
  EXPECT_NE(moved.find("kiln_elf_fixture"), nullptr);
}

TEST(SharedLibrary, AMissingSymbolIsNamedWithItsFile) {
  const auto library = SharedLibrary::open(KILN_ELF_FIXTURE);
  ASSERT_TRUE(library);
  void (*function)() = nullptr;
  const auto missing = library->require("no_such_function", &function);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::unavailable);
  EXPECT_NE(missing.error().message.find("no_such_function"), std::string::npos);
  EXPECT_NE(missing.error().message.find(KILN_ELF_FIXTURE), std::string::npos);
}

TEST(SharedLibrary, WhatCannotBeLoadedCarriesTheLoadersWords) {
  const test::TempFolder folder;
  const auto library = SharedLibrary::open(folder.write("bad.so", "not ELF"));
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::unavailable);
  EXPECT_NE(library.error().message.find("bad.so"), std::string::npos);
}

}  // namespace
}  // namespace kiln
