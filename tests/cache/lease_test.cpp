// SPDX-License-Identifier: Apache-2.0
#include "cache/lease.h"

#include <atomic>
#include <stop_token>
#include <thread>
#include <vector>

#include "tests/cache/support.h"

namespace kiln::test {
namespace {

constexpr int kLongMs = 20'000;

std::unique_ptr<LeaseFile> open_leases(const TempFolder& folder) {
  return LeaseFile::open(folder.path()).value();
}

// A process that takes the lease of key 1 and keeps it until killed or told to end.
class HoldingProcess {
 public:
  explicit HoldingProcess(const TempFolder& folder)
      : child_([&] {
          end_.close_write();
          const auto leases = open_leases(folder);
          const LeaseOutcome outcome = leases->acquire(key_of(1), 0).value();
          if (!outcome.lease) return 1;
          held_.signal();
          end_.await();
          return 0;
        }) {
    EXPECT_TRUE(held_.await());
  }
  void kill() { child_.kill(); }

 private:
  Pipe held_;
  Pipe end_;
  Child child_;
};

TEST(Lease, IsGivenAtOnceWhereNobodyHoldsIt) {
  const TempFolder folder;
  const auto leases = open_leases(folder);
  const LeaseOutcome first = leases->acquire(key_of(1), 0).value();
  EXPECT_TRUE(first.lease);
  EXPECT_FALSE(first.waited);
  const LeaseOutcome other_key = leases->acquire(key_of(2), 0).value();
  EXPECT_TRUE(other_key.lease);
  EXPECT_FALSE(other_key.waited);
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "kernels.lock"));
}

TEST(Lease, ExcludesOtherProcessesAndTheLimitEndsTheWait) {
  const TempFolder folder;
  const HoldingProcess holder(folder);
  const auto leases = open_leases(folder);
  for (const int wait_ms : {0, 30}) {
    const auto before = std::chrono::steady_clock::now();
    const LeaseOutcome outcome = leases->acquire(key_of(1), wait_ms).value();
    EXPECT_FALSE(outcome.lease);
    EXPECT_TRUE(outcome.waited);
    EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(wait_ms));
  }
  EXPECT_TRUE(leases->acquire(key_of(2), 0)->lease);
}

TEST(Lease, AWaitEndsWhenItsCallerGivesUp) {
  const TempFolder folder;
  const HoldingProcess holder(folder);
  const auto leases = open_leases(folder);
  std::stop_source stop;
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    stop.request_stop();
  });
  const auto outcome = leases->acquire(key_of(1), kLongMs, stop.get_token());
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::cancelled);
  // What nobody holds is given even then: it is the compile that is told to stop.
  EXPECT_TRUE(leases->acquire(key_of(2), 0, stop.get_token())->lease);
}

TEST(Lease, OfAKilledHolderGoesToTheOneWhoWaits) {
  const TempFolder folder;
  HoldingProcess holder(folder);
  const auto leases = open_leases(folder);
  ASSERT_FALSE(leases->acquire(key_of(1), 0)->lease);
  LeaseOutcome outcome;
  std::thread waiter([&] { outcome = leases->acquire(key_of(1), kLongMs).value(); });
  holder.kill();
  waiter.join();
  EXPECT_TRUE(outcome.lease);
}

TEST(Lease, ExcludesOtherLeaseFilesAndThreadsOfTheSameProcess) {
  const TempFolder folder;
  const auto one = open_leases(folder);
  const auto two = open_leases(folder);
  LeaseOutcome held = one->acquire(key_of(1), 0).value();
  ASSERT_TRUE(held.lease);
  EXPECT_FALSE(two->acquire(key_of(1), 0)->lease);
  EXPECT_FALSE(one->acquire(key_of(1), 0)->lease);
  held.lease.reset();
  EXPECT_TRUE(two->acquire(key_of(1), 0)->lease);
  EXPECT_TRUE(one->acquire(key_of(1), 0)->lease);
}

TEST(Lease, ManyThreadsHoldItOneAtATime) {
  const TempFolder folder;
  const auto one = open_leases(folder);
  const auto two = open_leases(folder);
  std::atomic<int> holders = 0;
  std::atomic<int> overlaps = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const LeaseOutcome outcome = (t % 2 ? one : two)->acquire(key_of(1), kLongMs).value();
        if (!outcome.lease || ++holders != 1) ++overlaps;
        --holders;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0);
}

TEST(Lease, ForkedChildKeepsNothingOfADeadParent) {
  const TempFolder folder;
  Pipe ready;
  Pipe end;
  Child parent([&] {
    const auto leases = open_leases(folder);
    const LeaseOutcome outcome = leases->acquire(key_of(1), 0).value();
    if (!outcome.lease) return 1;
    const Child grandchild([&] {
      end.close_write();
      ready.signal();
      end.await();
      return 0;
    });
    end.close_write();
    end.await();
    return 0;
  });
  ASSERT_TRUE(ready.await());
  const auto leases = open_leases(folder);
  EXPECT_FALSE(leases->acquire(key_of(1), 0)->lease);
  parent.kill();
  EXPECT_TRUE(leases->acquire(key_of(1), kLongMs)->lease);
  end.close_write();
}

TEST(Lease, ForkedChildCannotEndItsParentsLeaseButCanTakeItsOwn) {
  const TempFolder folder;
  const auto leases = open_leases(folder);
  LeaseOutcome held = leases->acquire(key_of(1), 0).value();
  ASSERT_TRUE(held.lease);
  Child child([&] {
    if (leases->acquire(key_of(1), 0)->lease) return 1;
    const LeaseOutcome own = leases->acquire(key_of(2), 0).value();
    if (!own.lease) return 2;
    held.lease.reset();
    return leases->acquire(key_of(1), 0)->lease ? 3 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_FALSE(open_leases(folder)->acquire(key_of(1), 0)->lease);
}

TEST(Lease, OutlivesItsFile) {
  const TempFolder folder;
  auto leases = open_leases(folder);
  LeaseOutcome held = leases->acquire(key_of(1), 0).value();
  leases.reset();
  const auto others = open_leases(folder);
  EXPECT_FALSE(others->acquire(key_of(1), 0)->lease);
  held.lease.reset();
  EXPECT_TRUE(others->acquire(key_of(1), 0)->lease);
}

// Somebody cleans the folder: who had the file open and who comes later must still meet.
TEST(Lease, LockFileThatWasRemovedStillExcludes) {
  const TempFolder folder;
  const auto earlier = open_leases(folder);
  ASSERT_TRUE(earlier->acquire(key_of(1), 0)->lease);
  std::filesystem::remove(folder.path() / "kernels.lock");
  const auto later = open_leases(folder);
  const LeaseOutcome held = earlier->acquire(key_of(1), 0).value();
  ASSERT_TRUE(held.lease);
  EXPECT_FALSE(later->acquire(key_of(1), 0)->lease);
  EXPECT_TRUE(later->acquire(key_of(2), 0)->lease);
}

TEST(Lease, FolderThatIsMissingIsAnError) {
  const TempFolder folder;
  const auto leases = LeaseFile::open(folder.path() / "missing");
  ASSERT_FALSE(leases);
  EXPECT_EQ(leases.error().code, ErrorCode::cache_failed);
  EXPECT_NE(leases.error().message.find("missing/kernels.lock"), std::string::npos);
}

}  // namespace
}  // namespace kiln::test
