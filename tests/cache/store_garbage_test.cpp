// SPDX-License-Identifier: Apache-2.0
// The cap enforced by hand, the file made shorter, and eviction in bounded steps.
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

constexpr std::size_t kPayload = 10'000;

TEST(StoreGarbage, EvictsTheLeastRecentlyUsedDownToTheCap) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 100; ++i) put_entry(*store, i, kPayload);
  ASSERT_TRUE(holds(*store, 0, kPayload));
  std::vector<GarbageReport> seen;
  const auto report =
      store->collect_garbage(300'000, [&](const GarbageReport& each) { seen.push_back(each); });
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->entries_left, 29u);
  EXPECT_EQ(report->entries_evicted, 71u);
  EXPECT_LE(report->size_bytes_left, 300'000u);
  EXPECT_FALSE(seen.empty());
  EXPECT_TRUE(holds(*store, 0, kPayload)) << "it was used last";
  EXPECT_TRUE(holds(*store, 99, kPayload));
  EXPECT_EQ(status_of(*store, 1), StoreLookup::Status::absent);
  EXPECT_EQ(store->totals()->evicted, 71u);
}

TEST(StoreGarbage, GivesTheSpaceBack) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 300; ++i) put_entry(*store, i, kPayload);
  const auto report = store->collect_garbage(500'000, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->file_bytes_before, 2'500'000u);
  EXPECT_LT(report->file_bytes_after, 1'000'000u);
  EXPECT_EQ(std::filesystem::file_size(folder.database()), report->file_bytes_after);
  EXPECT_EQ(RawDatabase(folder.database()).value("PRAGMA integrity_check"), "ok");
  for (int i = 260; i < 300; ++i) EXPECT_TRUE(holds(*store, i, kPayload)) << i;
}

TEST(StoreGarbage, WithinTheCapItEvictsNothing) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  put_entry(*store, 1);
  const auto report = store->collect_garbage(1 << 20, {});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->entries_evicted, 0u);
  EXPECT_EQ(report->entries_left, 1u);
  EXPECT_TRUE(store->collect_garbage(0, {}));
  EXPECT_EQ(store->totals()->entries, 0u);
}

// Each batch is a transaction of its own: a process that puts meanwhile is never told "busy".
TEST(StoreGarbage, LetsOthersWriteInBetween) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 3000; ++i) put_entry(*store, i, 300);
  Pipe go_on;
  Child other([&] {
    go_on.close_write();
    auto mine = open_store(folder.path(), 1 << 30, StoreAccess::read_write, 1000);
    go_on.await();
    for (int i = 10'000; i < 10'100; ++i) {
      if (!mine->put(key_of(i), entry_of(i))) return 1;
    }
    return 0;
  });
  int batches = 0;
  const auto report = store->collect_garbage(300'000, [&](const GarbageReport&) {
    go_on.signal();
    ++batches;
  });
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(batches, 3);
  EXPECT_EQ(other.wait(), 0);
  for (int i = 10'000; i < 10'100; ++i) EXPECT_TRUE(holds(*store, i)) << i;
}

// One put must not stand still for all that a lowered cap leaves over.
TEST(StoreCap, ALoweredOneIsReachedInBoundedSteps) {
  const TempFolder folder;
  {
    auto store = open_store(folder.path());
    for (int i = 0; i < 6000; ++i) put_entry(*store, i, 10);
  }
  auto store = open_store(folder.path(), 10'000);
  put_entry(*store, 10'000, 10);
  EXPECT_EQ(store->totals()->evicted, 4096u + 64u);
  put_entry(*store, 10'001, 10);
  EXPECT_LE(store->totals()->size_bytes, 10'000u);
  EXPECT_TRUE(holds(*store, 10'000, 10));
  EXPECT_TRUE(holds(*store, 10'001, 10));
}

TEST(StoreCap, FreesABatchMoreThanItMustSoThatNotEveryPutEvicts) {
  const TempFolder folder;
  auto store = open_store(folder.path(), 1'000'000);
  std::uint64_t evicted = 0;
  int puts_that_evicted = 0;
  for (int i = 0; i < 2000; ++i) {
    put_entry(*store, i, 1000);
    const std::uint64_t now = store->totals()->evicted;
    puts_that_evicted += now > evicted ? 1 : 0;
    evicted = now;
  }
  EXPECT_GT(evicted, 1000u);
  EXPECT_LT(puts_that_evicted, 40);
}

}  // namespace
}  // namespace kiln::test
