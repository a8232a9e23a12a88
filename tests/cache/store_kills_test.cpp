// SPDX-License-Identifier: Apache-2.0
// Rounds of processes that put, get, evict and vacuum one store and are killed at any moment, and
// many opens. tools/soak.sh runs the full counts.
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/cache/support.h"

namespace kiln::test {
namespace {

int count_from_environment(const char* name, int sample) {
  const char* const text = std::getenv(name);
  return text ? std::atoi(text) : sample;
}

constexpr int kWriters = 3;
constexpr int kPerRound = 10'000;
constexpr std::uint64_t kCapSmall = 3'000'000;

std::size_t payload_of(int number) {
  return 1 + static_cast<std::size_t>(number) * 7919 % 60'000;
}

struct Tally {
  long acknowledged = 0;
  long evicted = 0;
  long missing = 0;
  long wrong = 0;
};

// Locks are not fair: beside a vacuum on a slow disk, one of several writers may be busy for longer
// than the timeout, and tries again. That it may for ever is not accepted.
bool put_in_the_end(Store& store, int number) {
  constexpr int kTries = 8;  // of 5 s: less than what a child may take
  for (int i = 0; i < kTries; ++i) {
    const auto put = store.put(key_of(number), entry_of(number, payload_of(number)));
    if (put) return true;
    fmt::print(stderr, "put: {}\n", put.error().message);
    if (put.error().message.find("busy") == std::string::npos) return false;
  }
  return false;
}

// One process of a round: acknowledges each put through `done`, as the byte 'x'.
int work(const std::filesystem::path& folder, std::uint64_t cap, int first, const Pipe& done,
         unsigned seed) {
  std::mt19937 random(seed);
  auto store = open_store(folder, cap);
  for (int i = 0; i < kPerRound; ++i) {
    const int number = first + i;
    if (!put_in_the_end(*store, number)) return 1;
    done.signal();
    const int earlier = first + static_cast<int>(random() % (static_cast<unsigned>(i) + 1));
    const StoreLookup found = store->find(key_of(earlier), entry_of(earlier).record);
    if (found.status == StoreLookup::Status::rejected) return 2;
    if (found.status == StoreLookup::Status::hit &&
        found.entry.payload != entry_of(earlier, payload_of(earlier)).payload) {
      return 3;
    }
    if (random() % 16 == 0) (void)store->flush();
  }
  return 0;
}

// Another program's maintenance: it may find the file busy.
int vacuum(const std::filesystem::path& file) {
  for (;;) {
    const RawDatabase raw(file);
    sqlite3_exec(raw.get(), "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)", nullptr, nullptr, nullptr);
    usleep(5'000);  // lets the writers in, who otherwise wait for each of its turns
  }
}

void run_round(const std::filesystem::path& folder, std::uint64_t cap, int round,
               std::mt19937& random, Tally& tally) {
  std::vector<Pipe> done(kWriters);
  std::vector<Child> children;
  std::vector<int> first;
  for (int writer = 0; writer < kWriters; ++writer) {
    first.push_back((round * kWriters + writer) * kPerRound);
    children.emplace_back([&, writer, seed = random()] {
      return work(folder, cap, first[writer], done[writer], static_cast<unsigned>(seed));
    });
  }
  const bool with_vacuum = round % 4 == 2;  // of the small one, which takes some 10 ms
  if (with_vacuum) {
    children.emplace_back([&] { return vacuum(folder / open_store(folder)->file().filename()); });
  }
  std::vector<int> count(kWriters, 0);
  for (int writer = 0; writer < kWriters; ++writer) {
    done[writer].close_write();
    count[writer] = done[writer].await() ? 1 : 0;
  }
  usleep(static_cast<useconds_t>(random() % 15'000));
  for (const Child& child : children) child.kill();
  for (Child& child : children) {
    ASSERT_EQ(child.wait(), -SIGKILL);
  }
  auto store = open_store(folder, cap);
  for (int writer = 0; writer < kWriters; ++writer) {
    while (done[writer].await()) ++count[writer];
    tally.acknowledged += count[writer];
    for (int i = 0; i < count[writer]; ++i) {
      const int number = first[writer] + i;
      const StoreLookup found = store->find(key_of(number), entry_of(number).record);
      if (found.status == StoreLookup::Status::absent && cap == kCapSmall) {
        ++tally.evicted;
      } else if (found.status != StoreLookup::Status::hit) {
        ++tally.missing;
      } else if (found.entry.payload != entry_of(number, payload_of(number)).payload) {
        ++tally.wrong;
      }
    }
  }
}

TEST(StoreKills, AcknowledgedEntriesSurviveRoundsOfKills) {
  const int rounds = count_from_environment("KILN_SOAK_KILL_ROUNDS", 12);
  const TempFolder folders[2];
  std::uint64_t acknowledged[2] = {};
  std::mt19937 random(20261120);
  Tally tally;
  for (int round = 0; round < rounds; ++round) {
    const bool evicting = round % 2 == 0;
    const long before = tally.acknowledged;
    run_round(folders[evicting].path(), evicting ? kCapSmall : std::uint64_t{1} << 40, round,
              random, tally);
    if (HasFatalFailure()) return;
    acknowledged[evicting] += static_cast<std::uint64_t>(tally.acknowledged - before);
    // Counted in the transaction of each put: one that was lost takes its count along, and what is
    // no longer there was evicted.
    const StoreTotals totals = open_store(folders[evicting].path())->totals().value();
    EXPECT_GE(totals.puts, acknowledged[evicting]) << round;
    EXPECT_EQ(totals.entries + totals.evicted, totals.puts) << round;
    if (round % 10 >= 8) {
      RawDatabase raw(open_store(folders[evicting].path())->file());
      ASSERT_EQ(raw.value("PRAGMA integrity_check"), "ok") << round;
    }
  }
  fmt::print("{} rounds: {} puts acknowledged and checked, {} evicted, {} missing, {} wrong\n",
             rounds, tally.acknowledged, tally.evicted, tally.missing, tally.wrong);
  EXPECT_EQ(tally.missing, 0);
  EXPECT_EQ(tally.wrong, 0);
  for (const TempFolder& folder : folders) {
    auto store = open_store(folder.path());
    EXPECT_EQ(store->totals()->rejected, 0u);
    RawDatabase raw(store->file());
    EXPECT_EQ(raw.value("PRAGMA integrity_check"), "ok");
    EXPECT_EQ(raw.value("SELECT (SELECT size_bytes FROM totals) = sum(size_bytes) FROM entry"),
              "1");
  }
}

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

TEST(StoreOpens, FromManyThreadsAllWorkAndLeaveNothingOpen) {
  constexpr int kThreads = 16;
  const int opens = count_from_environment("KILN_SOAK_OPENS", 640);
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  const int before = open_descriptors();
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < opens / kThreads; ++i) {
        StoreOptions options;
        options.folder = folder.path();
        options.busy_timeout_ms = 60'000;
        const auto store = Store::open(options);
        if (!store || !holds(**store, 1)) ++failures;
        if (store && i % 8 == 0 && !(*store)->put(key_of(100 + t), entry_of(100 + t))) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  fmt::print("{} opens, {} failures\n", opens / kThreads * kThreads, failures.load());
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(open_descriptors(), before);
  auto store = open_store(folder.path());
  for (int t = 0; t < kThreads; ++t) EXPECT_TRUE(holds(*store, 100 + t));
}

}  // namespace
}  // namespace kiln::test
