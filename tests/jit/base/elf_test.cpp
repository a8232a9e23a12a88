// SPDX-License-Identifier: Apache-2.0
#include "jit/base/elf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;

std::string contents(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(Elf, IdentityIsTheBuildId) {
  const auto identity = library_identity(KILN_ELF_FIXTURE);
  ASSERT_TRUE(identity) << identity.error().message;
  EXPECT_EQ(*identity, "0123456789abcdef0123456789abcdef01234567");
}

TEST(Elf, WithoutABuildIdTheFileIsIdentifiedBySizeAndTime) {
  const TempFolder folder;
  const fs::path copy = folder.path() / "copy.so";
  fs::copy_file(KILN_ELF_FIXTURE_WITHOUT_ID, copy);
  const auto before = library_identity(copy);
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_TRUE(before->starts_with("size-mtime:" + std::to_string(fs::file_size(copy)) + "-"));
  fs::last_write_time(copy, fs::last_write_time(copy) + std::chrono::nanoseconds(1));
  EXPECT_NE(*library_identity(copy), *before);
}

TEST(Elf, Dependencies) {
  const auto found = library_dependencies(KILN_ELF_FIXTURE);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_NE(std::find(found->needed.begin(), found->needed.end(), "libm.so.6"),
            found->needed.end());
  const fs::path beside = fs::path(KILN_ELF_FIXTURE).parent_path() / "beside";
  ASSERT_GE(found->run_path.size(), 2u);
  EXPECT_NE(std::find(found->run_path.begin(), found->run_path.end(), beside),
            found->run_path.end());
  EXPECT_NE(std::find(found->run_path.begin(), found->run_path.end(), "/opt/elsewhere"),
            found->run_path.end());
}

TEST(Elf, WhatIsNoLibraryIsRefusedByName) {
  const TempFolder folder;
  for (const fs::path& path : {folder.path() / "absent", folder.write("text", "INPUT(libreal.so)"),
                               folder.write("empty", ""),
                               folder.write("short",
                                            "\x7f"
                                            "ELF"),
                               folder.path()}) {
    for (const auto& error : {library_identity(path).error(), library_dependencies(path).error()}) {
      EXPECT_EQ(error.code, ErrorCode::unavailable);
      EXPECT_NE(error.message.find(path.string()), std::string::npos) << error.message;
    }
  }
}

void read_both(const fs::path& path) {
  (void)library_identity(path);
  (void)library_dependencies(path);
}

// Headers point anywhere in a damaged file: answers may differ, the reader must survive.
TEST(Elf, DamagedFilesDoNoHarm) {
  constexpr std::size_t kHeaders = 1024;
  const TempFolder folder;
  const fs::path path = folder.write("damaged", contents(KILN_ELF_FIXTURE));
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::size_t at, char byte) {
    file.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
  };
  const std::string good = contents(path);
  ASSERT_GT(good.size(), kHeaders);
  for (std::size_t at = 0; at < kHeaders; ++at) {
    for (const char byte : {static_cast<char>(~good[at]), '\0', '\xff'}) {
      put(at, byte);
      read_both(path);
    }
    put(at, good[at]);
  }
  EXPECT_TRUE(library_identity(path)) << "the test did not restore the file";
  for (std::size_t size = kHeaders; size > 0; size -= 4) {
    fs::resize_file(path, size);
    read_both(path);
  }
}

}  // namespace
}  // namespace kiln
