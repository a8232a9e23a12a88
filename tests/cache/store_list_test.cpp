// SPDX-License-Identifier: Apache-2.0
// Pages, neighbours and tallies.
#include <set>

#include "tests/cache/support.h"

namespace kiln::test {
namespace {

void put_labelled(Store& store, int number, const std::string& label) {
  StoreEntry entry = entry_of(number);
  entry.label = label;
  ASSERT_TRUE(store.put(key_of(number), entry));
}

TEST(StorePages, TogetherAreTheWholeListing) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 700; ++i) put_entry(*store, i, 10);
  StoreFilter filter;
  filter.limit = 300;
  std::vector<std::string> labels;
  int pages = 0;
  for (std::optional<StoreCursor> after = StoreCursor{}; after; ++pages) {
    const StorePage page = store->page(filter, *after).value();
    EXPECT_LE(page.rows.size(), 256u);
    for (const StoreRow& row : page.rows) labels.push_back(row.label);
    after = page.next;
  }
  ASSERT_EQ(labels.size(), 700u);
  for (int i = 0; i < 700; ++i) EXPECT_EQ(labels[i], fmt::format("kernel {}", 699 - i));
  EXPECT_EQ(pages, 3);
}

TEST(StorePages, RowsUsedInOneMicrosecondAreNeitherLostNorRepeated) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 300; ++i) put_entry(*store, i, 10);
  RawDatabase(folder.database()).run("UPDATE entry SET last_used_us = 5");
  std::set<std::string> labels;
  const auto rows = store->list({}).value();
  for (const StoreRow& row : rows) labels.insert(row.label);
  EXPECT_EQ(rows.size(), 300u);
  EXPECT_EQ(labels.size(), 300u);
}

TEST(StorePages, WithoutRecordsLeavesThemOut) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  put_entry(*store, 1);
  StoreFilter filter;
  filter.with_records = false;
  const std::vector<StoreRow> rows = store->list(filter).value();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].label, "kernel 1");
  EXPECT_EQ(rows[0].record + rows[0].info, "");
}

// Whether a text is in every label, in few among many others, or in none.
TEST(StorePages, OfATextAreThoseOfTheWholeListingThatHaveIt) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  RawDatabase(folder.database())
      .run(
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
          "INSERT INTO entry SELECT i, randomblob(32), zeroblob(32), iif(i % 4900 = 7, 'rare ', "
          "'') || 'kernel ' || i, 1, 1, 1, i / 2 FROM n");
  const std::vector<StoreRow> all = store->list({}).value();
  ASSERT_EQ(all.size(), 10'000u);
  for (const std::string text : {"kernel", "rare", "kernel 99", "kernel 1000", "none"}) {
    std::vector<std::string> expected;
    for (const StoreRow& row : all) {
      if (row.label.find(text) != std::string::npos) expected.push_back(row.label);
    }
    for (const std::int64_t limit : {std::int64_t{-1}, std::int64_t{2}}) {
      StoreFilter filter;
      filter.label_contains = text;
      filter.limit = limit;
      std::vector<std::string> labels;
      for (std::optional<StoreCursor> after = StoreCursor{}; after && labels.size() < 5000;) {
        const StorePage page = store->page(filter, *after).value();
        EXPECT_TRUE(limit < 0 || page.rows.size() <= 2) << text;
        for (const StoreRow& row : page.rows) labels.push_back(row.label);
        after = page.next;
      }
      if (labels.size() >= 5000) expected.resize(labels.size());
      EXPECT_EQ(labels, expected) << text << limit;
    }
  }
}

TEST(StorePages, AnOddNumberOfKeyDigitsWorksToo) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 50; ++i) put_entry(*store, i, 10);
  const std::string hex = key_of(7).request.hex();
  for (const std::size_t digits : {0u, 1u, 2u, 3u, 63u, 64u}) {
    StoreFilter filter;
    filter.key_hex = hex.substr(0, digits);
    const auto rows = store->list(filter).value();
    std::size_t expected = 0;
    for (int i = 0; i < 50; ++i) {
      expected += key_of(i).request.hex().starts_with(*filter.key_hex) ? 1 : 0;
    }
    EXPECT_EQ(rows.size(), expected) << digits;
  }
  StoreFilter too_long;
  too_long.key_hex = hex + "0";
  EXPECT_TRUE(store->list(too_long)->empty());
}

TEST(StoreNeighbours, AreTheLabelsOnEitherSide) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  const char* labels[] = {"a 1", "a 2", "a 4", "a 5", "b 1"};
  for (int i = 0; i < 5; ++i) put_labelled(*store, i, labels[i]);
  const auto near = [&](std::string_view label) {
    std::set<std::string> found;
    const std::vector<StoreRow> rows = store->near_label(label, 2).value();
    for (const StoreRow& row : rows) found.insert(row.label);
    return found;
  };
  EXPECT_EQ(near("a 3"), (std::set<std::string>{"a 1", "a 2", "a 4", "a 5"}));
  EXPECT_EQ(near("a 5"), (std::set<std::string>{"a 2", "a 4", "a 5", "b 1"}));
  EXPECT_EQ(near("c"), (std::set<std::string>{"a 5", "b 1"}));
}

TEST(StoreTallies, AddUpAcrossProcesses) {
  const TempFolder folder;
  for (int i = 0; i < 5; ++i) {
    Child process([&] {
      auto store = open_store(folder.path());
      store->note({"decode", "cpu", "llvm", "disk", 1, 1000});
      store->note({"decode", "cpu", "llvm", "disk", 2, 2000});
      store->note({"decode", "cpu", "llvm", "compiled", 1, 500});
      return 0;
    });
    ASSERT_EQ(process.wait(), 0);
  }
  auto store = open_store(folder.path());
  store->note({"decode", "cpu", "llvm", "disk", 1, 1});
  EXPECT_EQ(store->tallies().value(),
            (std::vector<StoreTally>{{"decode", "cpu", "llvm", "compiled", 5, 2500},
                                     {"decode", "cpu", "llvm", "disk", 16, 15'001}}));
}

TEST(StoreTallies, AreNotWrittenTwiceByAForkedChild) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  store->note({"decode", "cpu", "llvm", "disk", 1, 1});
  Child child([&] { return store->flush() ? 0 : 1; });
  EXPECT_EQ(child.wait(), 0);
  ASSERT_TRUE(store->flush());
  EXPECT_EQ(store->tallies()->front().uses, 1u);
}

}  // namespace
}  // namespace kiln::test
