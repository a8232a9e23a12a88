// SPDX-License-Identifier: Apache-2.0
// From the schema before to this one, and what a program of another version does with a file.
#include "cache/upgrade.h"

#include <fstream>

#include "cache/schema.h"
#include "tests/cache/schema_v1.h"

namespace kiln::test {
namespace {

std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(Upgrade, AFreshStoreBeginsWithTheEntriesOfTheVersionBefore) {
  const TempFolder folder;
  {
    StoreV1 old(folder.path());
    for (int i = 0; i < 20; ++i) old.put(i);
    old.raw().run("UPDATE totals SET hits = 7, puts = 20, rejected = 2, evicted = 3");
  }
  const std::string before = bytes_of(folder.path() / "kernels-v1.db");
  auto store = open_store(folder.path());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(holds(*store, i)) << i;
  const StoreTotals totals = store->totals().value();
  EXPECT_EQ(totals.entries, 20u);
  EXPECT_EQ(totals.hits, 27u);
  EXPECT_EQ(totals.puts, 20u);
  EXPECT_EQ(totals.rejected, 2u);
  EXPECT_EQ(totals.evicted, 3u);
  EXPECT_EQ(bytes_of(folder.path() / "kernels-v1.db"), before) << "the older program's file";
  EXPECT_EQ(store->previous_file(), folder.path() / "kernels-v1.db");
  EXPECT_FALSE(open_store(TempFolder().path())->previous_file());
}

TEST(Upgrade, KeepsTheOrderOfUseForTheCap) {
  const TempFolder folder;
  StoreV1 old(folder.path());
  for (int i = 9; i >= 0; --i) old.put(i, 10'000);
  auto store = open_store(folder.path(), 105'000);
  put_entry(*store, 100, 10'000);
  EXPECT_EQ(status_of(*store, 0), StoreLookup::Status::absent) << "the least recently used one";
  EXPECT_TRUE(holds(*store, 9, 10'000));
}

TEST(Upgrade, IsDoneOnce) {
  const TempFolder folder;
  StoreV1 old(folder.path());
  old.put(1);
  ASSERT_TRUE(open_store(folder.path())->quarantine(key_of(1), "bad"));
  old.put(2);
  auto store = open_store(folder.path());
  EXPECT_EQ(status_of(*store, 1), StoreLookup::Status::absent);
  EXPECT_EQ(status_of(*store, 2), StoreLookup::Status::absent);
}

TEST(Upgrade, TheOlderProgramGoesOnWithItsOwnFile) {
  const TempFolder folder;
  StoreV1 old(folder.path());
  old.put(1);
  auto store = open_store(folder.path());
  old.put(2);
  put_entry(*store, 3);
  EXPECT_EQ(old.raw().value("SELECT count(*) FROM entry"), "2");
  EXPECT_EQ(store->totals()->entries, 2u);
}

TEST(Upgrade, EightProcessesAtOnceMakeOneWholeStore) {
  const TempFolder folder;
  {
    StoreV1 old(folder.path());
    for (int i = 0; i < 50; ++i) old.put(i, 30'000);
  }
  Pipe start;
  std::vector<Child> children;
  for (int process = 0; process < 8; ++process) {
    children.emplace_back([&] {
      start.close_write();
      start.await();
      auto store = open_store(folder.path());
      for (int i = 0; i < 50; ++i) {
        if (!holds(*store, i, 30'000)) return 1;
      }
      return 0;
    });
  }
  start.close_write();
  for (Child& child : children) EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(open_store(folder.path())->totals()->entries, 50u);
}

TEST(Upgrade, KilledAtAnyMomentTheNextProcessDoesIt) {
  const TempFolder folder;
  {
    StoreV1 old(folder.path());
    for (int i = 0; i < 100; ++i) old.put(i, 60'000);
  }
  int whole = 0;
  for (int round = 0; round < 24; ++round) {
    for (const char* end : {"", "-wal", "-shm"}) {
      std::filesystem::remove(folder.database().string() + end);
    }
    Pipe begun;
    Child child([&] {
      begun.signal();
      open_store(folder.path());
      return 0;
    });
    begun.close_write();
    begun.await();
    usleep(static_cast<useconds_t>(round * 700));
    child.kill();
    if (child.wait() == 0) ++whole;
    auto store = open_store(folder.path());
    EXPECT_EQ(store->totals()->entries, 100u) << round;
    EXPECT_TRUE(holds(*store, round, 60'000)) << round;
    EXPECT_EQ(RawDatabase(folder.database()).value("PRAGMA integrity_check"), "ok") << round;
  }
  EXPECT_LT(whole, 24) << "no child was killed in time, so nothing was tested";
}

TEST(Upgrade, CopiesTheLastUsedWhereThereIsTooMuch) {
  const TempFolder folder;
  StoreV1 old(folder.path());
  for (int i = 0; i < 10; ++i) old.put(i, 10'000);
  open_store(folder.path());
  Database fresh = Database::open(folder.database(), OpenMode::read_write, 1000).value();
  ASSERT_TRUE(fresh.run("DELETE FROM entry; DELETE FROM content"));
  ASSERT_TRUE(copy_previous_store(fresh, folder.path() / "kernels-v1.db", 35'000));
  EXPECT_EQ(*fresh.word("SELECT group_concat(label) FROM (SELECT label FROM entry ORDER BY id)"),
            "kernel 9,kernel 8,kernel 7");
}

TEST(Upgrade, DamagedPreviousStoresCostTheirEntriesOnly) {
  for (const int damage : {0, 1, 2, 3}) {
    const TempFolder folder;
    const auto file = folder.path() / "kernels-v1.db";
    {
      StoreV1 old(folder.path());
      for (int i = 0; i < 30; ++i) old.put(i, 30'000);
      if (damage == 0)
        old.raw().run(
            "PRAGMA ignore_check_constraints = 1; UPDATE entry SET request = x'00' WHERE id = 3");
      if (damage == 1) old.raw().run("DROP TABLE content");
      old.raw().run("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    if (damage == 2) std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    if (damage == 3) std::ofstream(file, std::ios::binary) << "no database at all";
    auto store = open_store(folder.path());
    EXPECT_TRUE(store->put(key_of(100), entry_of(100))) << damage;
    EXPECT_TRUE(holds(*store, 100)) << damage;
    if (damage == 0) {
      EXPECT_EQ(store->totals()->entries, 30u);
    }
    EXPECT_EQ(RawDatabase(folder.database()).value("PRAGMA integrity_check"), "ok") << damage;
  }
}

TEST(Upgrade, AFileOfAnotherSchemaUnderThisNameIsRefusedAndKept) {
  for (const int schema : {1, 3}) {
    const TempFolder folder;
    put_entry(*open_store(folder.path()), 1);
    RawDatabase(folder.database())
        .run(fmt::format("PRAGMA journal_mode = DELETE; PRAGMA user_version = {}", schema));
    const std::string before = bytes_of(folder.database());
    const std::string reason = refusal(folder.path());
    EXPECT_NE(reason.find(fmt::format("it has schema {} and this Kiln reads schema 2", schema)),
              std::string::npos)
        << reason;
    EXPECT_EQ(bytes_of(folder.database()), before);
  }
}

}  // namespace
}  // namespace kiln::test
