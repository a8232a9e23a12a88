// SPDX-License-Identifier: Apache-2.0
// Several processes, and their sudden ends.
#include <random>
#include <vector>

#include "tests/cache/support.h"

namespace kiln::test {
namespace {

TEST(StoreProcesses, EightAtOncePutWithoutABusyError) {
  constexpr int kProcesses = 8;
  constexpr int kPuts = 25;
  const TempFolder folder;
  Pipe start;
  std::vector<Child> children;
  for (int process = 0; process < kProcesses; ++process) {
    children.emplace_back([&, process] {
      start.close_write();
      start.await();
      // All of them make the folder's database, too.
      auto store = open_store(folder.path() / "cache");
      for (int i = 0; i < kPuts; ++i) {
        const int number = process * kPuts + i;
        const Result<void> put = store->put(key_of(number), entry_of(number, 30'000));
        if (put) continue;
        fmt::print(stderr, "{}\n", put.error().message);
        return 1;
      }
      return 0;
    });
  }
  start.close_write();
  for (Child& child : children) EXPECT_EQ(child.wait(), 0);
  auto store = open_store(folder.path() / "cache");
  for (int i = 0; i < kProcesses * kPuts; ++i) EXPECT_TRUE(holds(*store, i, 30'000)) << i;
  EXPECT_EQ(store->totals()->entries, static_cast<std::uint64_t>(kProcesses * kPuts));
}

// Whoever opens a store while another makes it sees it empty or whole, never half: that would be
// taken for another program's database.
TEST(StoreProcesses, OpenAStoreWhileItIsMade) {
  constexpr int kRounds = 40;
  constexpr int kProcesses = 6;
  const TempFolder folder;
  for (int round = 0; round < kRounds; ++round) {
    Pipe start;
    std::vector<Child> children;
    for (int process = 0; process < kProcesses; ++process) {
      children.emplace_back([&] {
        start.close_write();
        start.await();
        return open_store(folder.path() / fmt::format("cache{}", round)) ? 0 : 1;
      });
    }
    start.close_write();
    for (Child& child : children) ASSERT_EQ(child.wait(), 0) << "round " << round;
  }
}

// How many of its puts a process has reported as done before it was killed.
int done_before_kill(Child& child, Pipe& done, std::chrono::microseconds after_the_first) {
  done.close_write();
  int count = done.await() ? 1 : 0;
  usleep(static_cast<useconds_t>(after_the_first.count()));
  child.kill();
  EXPECT_EQ(child.wait(), -SIGKILL);
  while (done.await()) ++count;
  return count;
}

TEST(StoreProcesses, KilledAtAnyMomentLeaveAWholeDatabase) {
  constexpr int kRounds = 60;
  constexpr int kPerRound = 100'000;
  const TempFolder folder;
  std::mt19937 random(20240607);
  std::vector<std::pair<int, std::size_t>> acknowledged;
  for (int round = 0; round < kRounds; ++round) {
    Pipe done;
    Child child([&] {
      // A small cap makes them evict as well.
      auto store = open_store(folder.path(), 3'000'000);
      for (int i = 0;; ++i) {
        const int number = round * kPerRound + i;
        if (!store->put(key_of(number), entry_of(number, 1 + number % 70'000))) return 1;
        done.signal();
      }
    });
    const int count = done_before_kill(child, done, std::chrono::microseconds(random() % 12'000));
    auto store = open_store(folder.path(), 3'000'000);
    // The last ones cannot have been evicted yet: what was acknowledged is there.
    for (int i = std::max(0, count - 20); i < count; ++i) {
      const int number = round * kPerRound + i;
      EXPECT_TRUE(holds(*store, number, 1 + number % 70'000)) << "round " << round << " put " << i;
    }
  }
  auto store = open_store(folder.path(), 3'000'000);
  const std::vector<StoreRow> rows = store->list({}).value();
  ASSERT_GT(rows.size(), 10u);
  for (const StoreRow& row : rows) {
    EXPECT_EQ(store->find(row.key, row.record).status, StoreLookup::Status::hit) << row.label;
  }
  EXPECT_EQ(store->totals()->rejected, 0u);
  RawDatabase raw(folder.database());
  EXPECT_EQ(raw.value("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(raw.value("PRAGMA foreign_key_check"), "NULL");
  EXPECT_EQ(raw.value("SELECT (SELECT size_bytes FROM totals) = sum(size_bytes) FROM entry"), "1");
}

}  // namespace
}  // namespace kiln::test
