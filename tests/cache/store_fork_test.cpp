// SPDX-License-Identifier: Apache-2.0
// A store across fork().
#include <atomic>
#include <thread>

#include "tests/cache/support.h"
#include "tests/support/fork_beside_threads.h"

namespace kiln::test {
namespace {

TEST(StoreFork, ChildAndParentBothGoOnUsingIt) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  ASSERT_TRUE(holds(*store, 1));
  Child child([&] {
    if (!holds(*store, 1)) return 1;
    if (!store->put(key_of(2), entry_of(2))) return 2;
    if (!store->flush()) return 3;
    store.reset();
    return 0;
  });
  EXPECT_TRUE(store->put(key_of(3), entry_of(3)));
  EXPECT_EQ(child.wait(), 0);
  for (int i = 1; i <= 3; ++i) EXPECT_TRUE(holds(*store, i));
  // The parent's hit before the fork is counted once, and the child's own once.
  EXPECT_EQ(store->totals()->hits, 5u);
}

TEST(StoreFork, WhileAnotherThreadIsInTheMiddleOfIt) {
  KILN_FORKS_BESIDE_THREADS();
  const TempFolder folder;
  auto store = open_store(folder.path());
  std::atomic<bool> stop = false;
  std::atomic<int> put = 0;
  std::atomic<int> failures = 0;
  std::thread busy([&] {
    for (int i = 0; !stop; ++i) {
      const int number = 10'000 + i;
      if (!store->put(key_of(number), entry_of(number, 20'000))) ++failures;
      if (!holds(*store, number, 20'000)) ++failures;
      put = i + 1;
    }
  });
  for (int round = 0; round < 30; ++round) {
    Child child([&] {
      for (int i = 0; i < 3; ++i) {
        const int number = round * 3 + i;
        if (!store->put(key_of(number), entry_of(number))) return 1;
        if (!holds(*store, number)) return 2;
      }
      return 0;
    });
    ASSERT_EQ(child.wait(), 0) << round;
  }
  stop = true;
  busy.join();
  EXPECT_EQ(failures, 0);
  for (int i = 0; i < 90; ++i) EXPECT_TRUE(holds(*store, i)) << i;
  for (int i = 0; i < put; ++i) EXPECT_TRUE(holds(*store, 10'000 + i, 20'000)) << i;
  EXPECT_EQ(RawDatabase(folder.database()).value("PRAGMA integrity_check"), "ok");
}

// The trap: a child that shares SQLite's notes of its parent's locks lets the parent, when it
// closes "the last" connection, remove the log that the child is still writing to.
TEST(StoreFork, ChildOutlivesItsParentsConnection) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  Pipe child_is_open;
  Pipe parent_has_closed;
  Child child([&] {
    parent_has_closed.close_write();
    if (!store->put(key_of(2), entry_of(2))) return 1;
    child_is_open.signal();
    parent_has_closed.await();
    for (int i = 10; i < 20; ++i) {
      if (!store->put(key_of(i), entry_of(i))) return 2;
    }
    return 0;
  });
  ASSERT_TRUE(child_is_open.await());
  store.reset();
  parent_has_closed.close_write();
  EXPECT_EQ(child.wait(), 0);
  store = open_store(folder.path());
  for (const int i : {1, 2, 10, 15, 19}) EXPECT_TRUE(holds(*store, i)) << i;
}

TEST(StoreFork, ChildOfABareForkIsToldThatItCannot) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  const pid_t pid = _Fork();  // runs no handlers
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const StoreLookup found = store->find(key_of(1), entry_of(1).record);
    const bool refused = found.status == StoreLookup::Status::failed &&
                         found.reason.find("forked") != std::string::npos &&
                         !store->put(key_of(2), entry_of(2));
    store.reset();  // must not close the parent's connection
    _exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(holds(*store, 1));
  EXPECT_TRUE(store->put(key_of(3), entry_of(3)));
}

}  // namespace
}  // namespace kiln::test
