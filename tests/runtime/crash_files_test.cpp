// SPDX-License-Identifier: Apache-2.0
#include "runtime/crash_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

class CrashFilesTest : public testing::Test {
 protected:
  std::shared_ptr<CrashMemory> memory(CachePolicy policy = CachePolicy::read_write) {
    Options options;
    options.cache_folder = cache();
    options.cache_policy = policy;
    return open_crash_files(options);
  }
  fs::path cache() const { return folder_.path() / "cache"; }
  fs::path only_file() const { return fs::directory_iterator(cache() / "crashes")->path(); }

  const test::TempFolder folder_;
  const Digest toolchain_ = Digest::of(std::string_view("a toolchain"));
  const Crash crash_ = {"hiprtc", toolchain_, "arch gfx942", "ended with signal 6, Aborted", {}};
};

TEST_F(CrashFilesTest, TheNextProcessKnows) {
  EXPECT_FALSE(memory()->recall(toolchain_, crash_.subject));
  memory()->remember(crash_);
  for (const CachePolicy policy :
       {CachePolicy::read_write, CachePolicy::read_only, CachePolicy::locked}) {
    const auto recalled = memory(policy)->recall(toolchain_, crash_.subject);
    ASSERT_TRUE(recalled);
    EXPECT_EQ(recalled->compiler, "hiprtc");
    EXPECT_EQ(recalled->what, crash_.what);
    EXPECT_EQ(recalled->place, only_file());
  }
}

TEST_F(CrashFilesTest, ItIsOfOneToolchainAndOneSubject) {
  memory()->remember(crash_);
  EXPECT_FALSE(memory()->recall(Digest::of(std::string_view("another")), crash_.subject));
  EXPECT_FALSE(memory()->recall(toolchain_, "arch gfx90a"));
}

TEST_F(CrashFilesTest, ADeletedFileIsForgotten) {
  memory()->remember(crash_);
  fs::remove(memory()->recall(toolchain_, crash_.subject)->place);
  EXPECT_FALSE(memory()->recall(toolchain_, crash_.subject));
}

TEST_F(CrashFilesTest, WhatIsDamagedIsNotThereAndIsWrittenAnew) {
  memory()->remember(crash_);
  const auto size = fs::file_size(only_file());
  for (std::uintmax_t kept = 0; kept < size; ++kept) {
    fs::resize_file(only_file(), kept);
    EXPECT_FALSE(memory()->recall(toolchain_, crash_.subject)) << kept;
    memory()->remember(crash_);
    ASSERT_TRUE(memory()->recall(toolchain_, crash_.subject)) << kept;
  }
  std::ofstream(only_file(), std::ios::app) << "more";
  EXPECT_FALSE(memory()->recall(toolchain_, crash_.subject));
}

TEST_F(CrashFilesTest, WithoutTheRightToWriteNothingIsWritten) {
  memory(CachePolicy::read_only)->remember(crash_);
  memory(CachePolicy::locked)->remember(crash_);
  EXPECT_FALSE(fs::exists(cache()));
  EXPECT_EQ(memory(CachePolicy::off), nullptr);
  Options homeless;
  EXPECT_EQ(open_crash_files(homeless), nullptr);
}

// Who may write there could turn a compiler off.
TEST_F(CrashFilesTest, AFolderThatOthersMayWriteToIsNotRead) {
  memory()->remember(crash_);
  chmod((cache() / "crashes").c_str(), 0777);
  EXPECT_FALSE(memory()->recall(toolchain_, crash_.subject));
  chmod((cache() / "crashes").c_str(), 0700);
  EXPECT_TRUE(memory()->recall(toolchain_, crash_.subject));
  chmod(only_file().c_str(), 0666);
  EXPECT_FALSE(memory()->recall(toolchain_, crash_.subject));
}

}  // namespace
}  // namespace kiln
