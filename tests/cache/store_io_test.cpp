// SPDX-License-Identifier: Apache-2.0
// A kill, an I/O error or a quota at every single step that a store takes below SQLite.
#include "cache/schema.h"
#include "tests/cache/faulty_vfs.h"
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

using Fault = FaultyVfs::Fault;
using Operations = FaultyVfs::Operations;
using Status = StoreLookup::Status;

constexpr int kBefore = 6;  // entries that are there before it starts
constexpr std::uint64_t kCap = 400'000;
constexpr std::size_t kPayload = 40'000;

void expect_whole(const std::filesystem::path& folder, int acknowledged, int step) {
  auto store = open_store(folder, kCap);
  for (int i = 1; i < kBefore + acknowledged; ++i) {
    EXPECT_TRUE(holds(*store, i, kPayload)) << "entry " << i << ", step " << step;
  }
  // What was not acknowledged is there whole, or not at all.
  EXPECT_NE(status_of(*store, kBefore + acknowledged), Status::rejected) << step;
  EXPECT_NE(status_of(*store, kBefore + acknowledged), Status::failed) << step;
  EXPECT_TRUE(store->put(key_of(77), entry_of(77))) << step;
  EXPECT_EQ(store->totals()->rejected, 0u) << step;
  store.reset();
  RawDatabase raw(folder / kStoreFileName);
  EXPECT_EQ(raw.value("PRAGMA integrity_check"), "ok") << step;
  EXPECT_EQ(raw.value("SELECT (SELECT size_bytes FROM totals) = sum(size_bytes) FROM entry"), "1");
}

// One process: opens, puts two, reads one, puts one, closes. `acknowledge` after each put.
int publish(const std::filesystem::path& folder, const std::function<void()>& acknowledge) {
  auto store = open_store(folder, kCap);
  for (const int number : {kBefore, kBefore + 1}) {
    if (!store->put(key_of(number), entry_of(number, kPayload))) return 1;
    acknowledge();
  }
  if (!holds(*store, 1, kPayload)) return 2;
  if (!store->flush()) return 3;
  store.reset();
  return 0;
}

TEST(StoreIo, KilledAfterEveryStepOfPublishingItIsWhole) {
  int step = 1;
  for (bool killed = true; killed; ++step) {
    ASSERT_LT(step, 500);
    const TempFolder folder;
    if (step % 2) {  // every other time the file is there already
      auto store = open_store(folder.path(), kCap);
      for (int i = 1; i < kBefore; ++i) put_entry(*store, i, kPayload);
    }
    Pipe acknowledged;
    Child child([&] {
      FaultyVfs vfs;
      vfs.set(Fault::kill, step);
      return publish(folder.path(), [&] { acknowledged.signal(); });
    });
    acknowledged.close_write();
    const int code = child.wait();
    ASSERT_TRUE(code == 0 || code == -SIGKILL) << code;
    killed = code != 0;
    int count = 0;
    while (acknowledged.await()) ++count;
    if (step % 2) {
      expect_whole(folder.path(), count, step);
    } else {
      auto store = open_store(folder.path(), kCap);
      for (int i = 0; i < count; ++i) EXPECT_TRUE(holds(*store, kBefore + i, kPayload)) << step;
    }
  }
  EXPECT_GT(step, 30) << "publishing takes more steps than that: the shim is not in the way";
}

TEST(StoreIo, ErrorAtAnyStepFailsThatOperationAndLosesNothing) {
  for (const Fault fault : {Fault::io_error, Fault::quota, Fault::disk_full}) {
    for (int step = 1; step < 60; step += 2) {
      const TempFolder folder;
      {
        auto store = open_store(folder.path(), kCap);
        for (int i = 1; i < kBefore; ++i) put_entry(*store, i, kPayload);
      }
      Child child([&] {
        FaultyVfs vfs;
        auto store = open_store(folder.path(), kCap);
        vfs.set(fault, step);
        const Result<void> put = store->put(key_of(kBefore), entry_of(kBefore, kPayload));
        if (!put && put.error().message.find('\n') != std::string::npos) return 1;
        // It goes on as soon as the trouble is over, without anybody's help.
        vfs.set(Fault::none, 0);
        if (!store->put(key_of(kBefore), entry_of(kBefore, kPayload))) return 2;
        return holds(*store, kBefore, kPayload) ? 0 : 3;
      });
      EXPECT_EQ(child.wait(), 0) << static_cast<int>(fault) << " at step " << step;
      expect_whole(folder.path(), 1, step);
    }
  }
}

TEST(StoreIo, ErrorWhileReadingIsAFailureAndNoDamage) {
  const TempFolder folder;
  {
    auto store = open_store(folder.path(), kCap);
    for (int i = 1; i < kBefore; ++i) put_entry(*store, i, kPayload);
  }
  Child child([&] {
    FaultyVfs vfs;
    auto store = open_store(folder.path(), kCap);
    vfs.set(Fault::io_error, 1, Operations::reads);
    const StoreLookup found = store->find(key_of(1), entry_of(1).record);
    if (found.status != Status::failed) return 1;
    if (found.reason.find("input/output error") == std::string::npos) return 2;
    // Nobody took it for damage: the connection that is there is used, none is made.
    if (found.reason.find("damaged") != std::string::npos) return 4;
    if (vfs.count() != 1) return 5;
    vfs.set(Fault::none, 0);
    return holds(*store, 1, kPayload) && store->totals()->rejected == 0 ? 0 : 3;
  });
  EXPECT_EQ(child.wait(), 0);
  expect_whole(folder.path(), 0, 0);
}

TEST(StoreIo, QuotaIsSaidToBeAFullDisk) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  Child child([&] {
    FaultyVfs vfs;
    auto store = open_store(folder.path());
    vfs.set(Fault::quota, 1);
    const Result<void> put = store->put(key_of(2), entry_of(2));
    fmt::print(stderr, "{}\n", put ? "put" : put.error().message);
    return !put && put.error().message.find("disk is full") != std::string::npos ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace kiln::test
