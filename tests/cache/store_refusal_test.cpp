// SPDX-License-Identifier: Apache-2.0
// Folders and files that a store refuses, and leaves as they are.
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "cache/folder.h"
#include "cache/schema.h"
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

// A schema that runs code of its own when it is used is not run, and a damaged cell is found.
TEST(StoreRefusal, ConnectionIsDefensive) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  Database::Fault fault;
  auto database =
      open_store_file(folder.database(), OpenMode::read_write, FileSystemKind::local, 1000, fault);
  ASSERT_TRUE(database);
  EXPECT_EQ(database->integer("PRAGMA trusted_schema").value(), 0);
  EXPECT_EQ(database->integer("PRAGMA cell_size_check").value(), 1);
  EXPECT_EQ(database->integer("PRAGMA foreign_keys").value(), 1);
  EXPECT_FALSE(database->run("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = ''"));
}

namespace fs = std::filesystem;

mode_t mode_of(const fs::path& path) {
  struct stat status = {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

void write_file(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' lacks '" << part << "'";
  EXPECT_EQ(text.find('\n'), std::string::npos) << "not one line: " << text;
}

TEST(StoreFolder, IsCreatedPrivateWithItsParents) {
  const TempFolder folder;
  const mode_t old_mask = umask(0);
  open_store(folder.path() / "a" / "b" / "c" / "");
  umask(old_mask);
  for (const char* part : {"a", "a/b", "a/b/c"}) {
    EXPECT_EQ(mode_of(folder.path() / part), 0700u) << part;
  }
  EXPECT_EQ(mode_of(folder.path() / "a/b/c/kernels-v2.db") & 022, 0u);
}

TEST(StoreFolder, WritableByOthersIsRefusedWithTheRemedy) {
  const TempFolder folder;
  for (const mode_t mode : {0777, 0770, 0720, 0702, 01777}) {
    ASSERT_EQ(chmod(folder.path().c_str(), mode), 0);
    const std::string reason = refusal(folder.path());
    expect_contains(reason, fmt::format("{:04o}", mode));
    expect_contains(reason, fmt::format("chmod 700 '{}'", folder.path().string()));
    EXPECT_TRUE(fs::is_empty(folder.path())) << "a refused folder was written to";
  }
  for (const mode_t mode : {0700, 0750, 0755}) {
    ASSERT_EQ(chmod(folder.path().c_str(), mode), 0);
    EXPECT_EQ(refusal(folder.path()), "") << mode;
  }
}

TEST(StoreFolder, SymbolicLinkIsRefusedHoweverItIsWritten) {
  const TempFolder folder;
  fs::create_directory(folder.path() / "real");
  ASSERT_EQ(chmod((folder.path() / "real").c_str(), 0700), 0);
  fs::create_symlink("real", folder.path() / "link");
  for (const char* name : {"link", "link/", "link/.", "./link//", "real/../link"}) {
    expect_contains(refusal(folder.path() / name), "symbolic link");
  }
  fs::create_symlink("nowhere", folder.path() / "dangling");
  expect_contains(refusal(folder.path() / "dangling"), "symbolic link");
  EXPECT_EQ(refusal(folder.path() / "link/../real"), "");
}

TEST(StoreFolder, OfAnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  const TempFolder folder;
  open_store(folder.path());
  ASSERT_EQ(chown(folder.path().c_str(), 4711, 4711), 0);
  expect_contains(refusal(folder.path()), "belongs to user 4711");
  expect_contains(refusal(folder.path(), StoreAccess::read_only), "belongs to user 4711");
}

TEST(StoreFolder, ThatIsNoneOrCannotBeMadeIsRefused) {
  const TempFolder folder;
  write_file(folder.path() / "file", "text");
  expect_contains(refusal(folder.path() / "file"), "not a folder");
  expect_contains(refusal(folder.path() / "file" / "below"), "Not a directory");
  expect_contains(refusal(""), "empty");
  expect_contains(refusal("/proc/kiln"), "/proc/kiln");
}

TEST(StoreFolder, ReadOnlyAccessCreatesNothing) {
  const TempFolder folder;
  expect_contains(refusal(folder.path() / "missing", StoreAccess::read_only), "No such file");
  expect_contains(refusal(folder.path(), StoreAccess::read_only), "No such file");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(StoreFile, ThatIsNoDatabaseIsRefusedAndKept) {
  const TempFolder folder;
  for (const std::string& content :
       {std::string("not a database"), std::string(100'000, 'x'), std::string(40, '\0'),
        "SQLite format 3" + std::string(5000, '\0')}) {
    write_file(folder.database(), content);
    expect_contains(refusal(folder.path()), "no Kiln cache, or damaged");
    EXPECT_EQ(read_file(folder.database()), content);
  }
}

TEST(StoreFile, OfAnotherProgramIsRefusedAndKept) {
  const TempFolder folder;
  RawDatabase(folder.database()).run("CREATE TABLE bookmarks(url)");
  const std::string before = read_file(folder.database());
  expect_contains(refusal(folder.path()), "another program");
  EXPECT_EQ(read_file(folder.database()), before);
}

TEST(StoreFile, OfANewerKilnIsRefusedAndKept) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  RawDatabase(folder.database()).run("PRAGMA journal_mode = DELETE; PRAGMA user_version = 3");
  const std::string before = read_file(folder.database());
  expect_contains(refusal(folder.path()), "schema 3");
  expect_contains(refusal(folder.path(), StoreAccess::read_only), "schema 3");
  EXPECT_EQ(read_file(folder.database()), before);
}

TEST(StoreFile, ThatIsAFolderIsRefusedAndKept) {
  const TempFolder folder;
  fs::create_directory(folder.database());
  write_file(folder.database() / "somebody's", "text");
  expect_contains(refusal(folder.path()), "not a regular file");
  expect_contains(refusal(folder.path(), StoreAccess::read_only), "not a regular file");
  EXPECT_EQ(read_file(folder.database() / "somebody's"), "text");
}

TEST(StoreFile, EmptyOneIsAStoreThatWasNotFinished) {
  const TempFolder folder;
  write_file(folder.database(), "");
  auto store = open_store(folder.path());
  EXPECT_TRUE(store->put(key_of(1), entry_of(1)));
}

TEST(StoreFile, LinkOrOneThatOthersCanWriteIsRefused) {
  const TempFolder folder;
  open_store(folder.path());
  ASSERT_EQ(chmod(folder.database().c_str(), 0666), 0);
  expect_contains(refusal(folder.path()), "chmod 600");
  fs::rename(folder.database(), folder.path() / "elsewhere.db");
  ASSERT_EQ(chmod((folder.path() / "elsewhere.db").c_str(), 0600), 0);
  fs::create_symlink("elsewhere.db", folder.database());
  expect_contains(refusal(folder.path()), "not a regular file");
}

TEST(FileSystem, NetworkKindsAreKnown) {
  for (const long type : {0x6969L, 0xff534d42L, 0xfe534d42L, 0x0bd00bd0L, 0x00c36400L, 0x47504653L,
                          0x01021997L, 0x65735546L, static_cast<long>(int(0xff534d42))}) {
    EXPECT_EQ(kind_of_type(type), FileSystemKind::network) << std::hex << type;
  }
  for (const long type : {0xef53L, 0x58465342L, 0x01021994L, 0x9123683eL, 0x794c7630L}) {
    EXPECT_EQ(kind_of_type(type), FileSystemKind::local) << std::hex << type;
  }
}

}  // namespace
}  // namespace kiln::test
