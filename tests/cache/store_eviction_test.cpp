// SPDX-License-Identifier: Apache-2.0
// The byte cap.
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

constexpr std::size_t kPayload = 10'000;
constexpr std::uint64_t kCap = 100'000;

TEST(StoreCap, HoldsOverManyShortLivedProcesses) {
  const TempFolder folder;
  for (int i = 0; i < 200; ++i) {
    Child process([&] {
      auto store = open_store(folder.path(), kCap);
      if (!store->put(key_of(i), entry_of(i, kPayload))) return 1;
      return store->totals()->size_bytes <= kCap ? 0 : 2;
    });
    ASSERT_EQ(process.wait(), 0) << i;
  }
  auto store = open_store(folder.path(), kCap);
  const StoreTotals totals = store->totals().value();
  EXPECT_GE(totals.entries, 8u) << "more was evicted than the cap asks for";
  EXPECT_EQ(totals.entries + totals.evicted, 200u);
  EXPECT_TRUE(holds(*store, 199, kPayload));
  EXPECT_EQ(status_of(*store, 0), StoreLookup::Status::absent);
  EXPECT_LT(std::filesystem::file_size(folder.database()), 6 * kCap) << "freed pages are reused";

  RawDatabase raw(folder.database());
  EXPECT_EQ(raw.value("SELECT sum(payload_bytes) FROM entry"),
            std::to_string(totals.payload_bytes));
  EXPECT_EQ(raw.value("SELECT sum(size_bytes) FROM entry"), std::to_string(totals.size_bytes));
  EXPECT_EQ(raw.value("SELECT count(*) FROM content"), std::to_string(totals.entries));
}

TEST(StoreCap, EvictsTheLeastRecentlyUsedAcrossProcesses) {
  const TempFolder folder;
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(open_store(folder.path(), kCap)->put(key_of(i), entry_of(i, kPayload)));
  }
  ASSERT_TRUE(holds(*open_store(folder.path(), kCap), 0, kPayload));
  for (int i = 9; i < 12; ++i) {
    ASSERT_TRUE(open_store(folder.path(), kCap)->put(key_of(i), entry_of(i, kPayload)));
  }
  auto store = open_store(folder.path(), kCap);
  EXPECT_TRUE(holds(*store, 0, kPayload)) << "it was used";
  EXPECT_EQ(status_of(*store, 1), StoreLookup::Status::absent);
  EXPECT_TRUE(holds(*store, 11, kPayload));
}

TEST(StoreCap, UsesOfTheSameProcessCountThoughNotYetWritten) {
  const TempFolder folder;
  auto store = open_store(folder.path(), kCap);
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(store->put(key_of(i), entry_of(i, kPayload)));
  ASSERT_TRUE(holds(*store, 0, kPayload));
  ASSERT_TRUE(store->put(key_of(9), entry_of(9, kPayload)));
  EXPECT_TRUE(holds(*store, 0, kPayload));
  EXPECT_EQ(status_of(*store, 1), StoreLookup::Status::absent);
}

TEST(StoreCap, ClockThatWasSetBackEvictsInOrderOfUseAllTheSame) {
  const TempFolder folder;
  for (int i = 0; i < 9; ++i) put_entry(*open_store(folder.path(), kCap), i, kPayload);
  // As written by clocks that were ten years ahead, in that order.
  RawDatabase(folder.database())
      .run(
          "UPDATE entry SET created_us = created_us + 315360000000000, "
          "last_used_us = last_used_us + 315360000000000");
  ASSERT_TRUE(holds(*open_store(folder.path(), kCap), 0, kPayload));
  for (int i = 9; i < 12; ++i) put_entry(*open_store(folder.path(), kCap), i, kPayload);
  auto store = open_store(folder.path(), kCap);
  for (const int i : {0, 9, 10, 11}) EXPECT_TRUE(holds(*store, i, kPayload)) << i;
  EXPECT_EQ(status_of(*store, 1), StoreLookup::Status::absent);
  EXPECT_LE(store->totals()->size_bytes, kCap);
}

TEST(StoreCap, CountsRecordsAndLabelsToo) {
  const TempFolder folder;
  auto store = open_store(folder.path(), kCap);
  for (int i = 0; i < 30; ++i) {
    StoreEntry entry = entry_of(i, 10);
    entry.record.append(20'000, 'r');
    ASSERT_TRUE(store->put(key_of(i), entry));
  }
  EXPECT_LE(store->totals()->entries, 4u);
}

TEST(StoreCap, EntryLargerThanTheCapIsDeclinedAndEvictsNothing) {
  const TempFolder folder;
  auto store = open_store(folder.path(), kCap);
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  const Result<void> result = store->put(key_of(2), entry_of(2, kCap + 1));
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("KILN_CACHE_SIZE"), std::string::npos);
  EXPECT_TRUE(holds(*store, 1));
}

TEST(StoreCap, LoweredItTakesEffectAtTheNextPut) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 200; ++i) put_entry(*store, i, kPayload);
  store = open_store(folder.path(), kCap);
  ASSERT_TRUE(store->put(key_of(300), entry_of(300)));
  EXPECT_LE(store->totals()->size_bytes, kCap);
  EXPECT_TRUE(holds(*store, 300));
}

}  // namespace
}  // namespace kiln::test
