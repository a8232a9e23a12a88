// SPDX-License-Identifier: Apache-2.0
// Stores that are read as layers.
#include <sys/stat.h>

#include <fstream>
#include <set>

#include "tests/cache/schema_v1.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

void make_layer(const fs::path& folder, int entries) {
  auto store = open_store(folder);
  for (int i = 0; i < entries; ++i) put_entry(*store, i);
  const Result<void> sealed = store->seal();
  if (!sealed) throw std::runtime_error(sealed.error().message);
}

std::unique_ptr<Store> open_layer(const fs::path& folder) {
  return open_store(folder, 1 << 30, StoreAccess::layer);
}

std::string layer_refusal(const fs::path& folder) {
  return refusal(folder, StoreAccess::layer);
}

std::string bytes_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& each : fs::directory_iterator(folder)) names.insert(each.path().filename());
  return names;
}

TEST(Layer, ServesAndIsNeverWritten) {
  const TempFolder folder;
  make_layer(folder.path(), 5);
  const std::string before = bytes_of(folder.database());
  const auto names = names_in(folder.path());
  {
    auto layer = open_layer(folder.path());
    for (int i = 0; i < 300; ++i) EXPECT_TRUE(holds(*layer, i % 5));
    EXPECT_EQ(status_of(*layer, 9), StoreLookup::Status::absent);
    EXPECT_EQ(layer->find(key_of(1), "another record").status, StoreLookup::Status::rejected);
    layer->note({"op", "arch", "compiler", "layer", 1, 1});
    EXPECT_FALSE(layer->put(key_of(7), entry_of(7)));
    EXPECT_FALSE(layer->quarantine(key_of(1), "bad"));
    EXPECT_FALSE(layer->collect_garbage(0, {}));
    EXPECT_FALSE(layer->seal());
    EXPECT_EQ(layer->list({})->size(), 5u);
    EXPECT_EQ(names_in(folder.path()), names) << "no lock, log or index beside it";
  }
  EXPECT_EQ(bytes_of(folder.database()), before);
  EXPECT_EQ(names_in(folder.path()), names);
}

TEST(Layer, ASealedOneIsReadableByEverybodyAndNothingElseIsInIt) {
  const TempFolder folder;
  make_layer(folder.path(), 1);
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"kernels-v2.db"});
  struct stat status;
  ASSERT_EQ(stat(folder.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755u);
  ASSERT_EQ(stat(folder.database().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0644u);
}

TEST(Layer, SealingKeepsWhatHitsHaveToWrite) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  put_entry(*store, 1);
  ASSERT_TRUE(holds(*store, 1));
  ASSERT_TRUE(store->seal());
  EXPECT_EQ(open_layer(folder.path())->totals()->hits, 1u);
}

TEST(Layer, CannotBeSealedWhileAnotherProcessUsesIt) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  Pipe opened;
  Pipe go_on;
  Child other([&] {
    go_on.close_write();
    auto store = open_store(folder.path());
    opened.signal();
    go_on.await();
    return 0;
  });
  ASSERT_TRUE(opened.await());
  const Result<void> sealed =
      open_store(folder.path(), 1 << 30, StoreAccess::read_write, 50)->seal();
  ASSERT_FALSE(sealed);
  EXPECT_NE(sealed.error().message.find("another process"), std::string::npos)
      << sealed.error().message;
  go_on.close_write();
  EXPECT_EQ(other.wait(), 0);
}

TEST(Layer, IsRefusedWhileItIsACache) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  put_entry(*store, 1);
  const std::string in_use = layer_refusal(folder.path());
  EXPECT_NE(in_use.find("write-ahead log is not empty"), std::string::npos) << in_use;
  EXPECT_NE(in_use.find("jitctl gc --seal"), std::string::npos) << in_use;
  store.reset();
  const std::string closed = layer_refusal(folder.path());
  EXPECT_NE(closed.find("write-ahead-log mode"), std::string::npos) << closed;
}

TEST(Layer, IsRefusedWithALogOrJournalThatIsNotEmpty) {
  const TempFolder folder;
  make_layer(folder.path(), 1);
  for (const char* end : {"-wal", "-journal"}) {
    const fs::path beside = folder.database().string() + end;
    std::ofstream(beside, std::ios::binary) << "";
    EXPECT_EQ(layer_refusal(folder.path()), "") << end;
    std::ofstream(beside, std::ios::binary) << "x";
    EXPECT_NE(layer_refusal(folder.path()).find("is not empty"), std::string::npos) << end;
    fs::remove(beside);
  }
}

TEST(Layer, FollowsTheRulesOfTrust) {
  const TempFolder folder;
  make_layer(folder.path(), 1);
  ASSERT_EQ(chmod(folder.database().c_str(), 0664), 0);
  EXPECT_NE(layer_refusal(folder.path()).find("mode is 0664"), std::string::npos);
  ASSERT_EQ(chmod(folder.database().c_str(), 0644), 0);
  ASSERT_EQ(chmod(folder.path().c_str(), 0757), 0);
  EXPECT_NE(layer_refusal(folder.path()).find("mode is 0757"), std::string::npos);
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  EXPECT_EQ(layer_refusal(folder.path()), "");
  const TempFolder elsewhere;
  fs::create_directory_symlink(folder.path(), elsewhere.path() / "link");
  EXPECT_NE(layer_refusal(elsewhere.path() / "link").find("symbolic link"), std::string::npos);
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file to another user";
  ASSERT_EQ(chown(folder.database().c_str(), 12345, 12345), 0);
  EXPECT_NE(layer_refusal(folder.path()).find("belongs to user 12345"), std::string::npos);
}

TEST(Layer, OfRootServesAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const TempFolder folder;
  make_layer(folder.path(), 1);
  Child user([&] {
    if (setgid(12345) != 0 || setuid(12345) != 0) return 2;
    return holds(*open_layer(folder.path()), 0) ? 0 : 1;
  });
  EXPECT_EQ(user.wait(), 0);
}

TEST(Layer, MissingOrEmptyOnesSayso) {
  const TempFolder folder;
  EXPECT_NE(layer_refusal(folder.path()).find("there is none"), std::string::npos);
  EXPECT_NE(layer_refusal(folder.path() / "no").find("No such file"), std::string::npos);
  std::ofstream(folder.database()) << "";
  EXPECT_NE(layer_refusal(folder.path()).find("empty"), std::string::npos);
}

TEST(Layer, OfTheVersionBeforeServesToo) {
  const TempFolder folder;
  {
    StoreV1 old(folder.path());
    old.put(4);
    old.raw().run("PRAGMA journal_mode = DELETE");
  }
  auto layer = open_layer(folder.path());
  EXPECT_TRUE(holds(*layer, 4));
  EXPECT_EQ(layer->list({})->size(), 1u);
}

TEST(Layer, BecomesACacheAgainWhenItIsOpenedForWriting) {
  const TempFolder folder;
  make_layer(folder.path(), 1);
  auto store = open_store(folder.path());
  EXPECT_TRUE(holds(*store, 0));
  put_entry(*store, 1);
  EXPECT_EQ(RawDatabase(folder.database()).value("PRAGMA journal_mode"), "wal");
}

TEST(Layer, WorksInAForkedChild) {
  const TempFolder folder;
  make_layer(folder.path(), 1);
  auto layer = open_layer(folder.path());
  ASSERT_TRUE(holds(*layer, 0));
  Child child([&] { return holds(*layer, 0) ? 0 : 1; });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(holds(*layer, 0));
}

}  // namespace
}  // namespace kiln::test
