// SPDX-License-Identifier: Apache-2.0
#include "cache/flight_cache.h"

#include <atomic>
#include <future>
#include <latch>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "tests/cache/support.h"
#include "tests/support/fork_beside_threads.h"

namespace kiln::test {

// Compares slowly and collides often: a look-up in a table of these takes long.
struct SlowKey {
  int number = 0;
  friend bool operator==(const SlowKey& a, const SlowKey& b) {
    thread_local unsigned calls = 0;
    if (++calls % 16 == 0) std::this_thread::yield();
    return a.number == b.number;
  }
};

}  // namespace kiln::test

template <>
struct std::hash<kiln::test::SlowKey> {
  std::size_t operator()(const kiln::test::SlowKey& key) const noexcept {
    return static_cast<std::size_t>(key.number % 100);
  }
};

namespace kiln::test {
namespace {

using Value = std::string;
using Cache = FlightCache<int, Value>;
using Pointer = Cache::Pointer;

Cache make_cache(FlightLimits limits = {}) {
  return Cache(limits, [](const Value& value) { return value.size(); });
}

Cache::Producer produces(std::string text) {
  return [text] { return Result<Pointer>(std::make_shared<const Value>(text)); };
}

Result<Pointer> refuse_to_produce() {
  return fail(ErrorCode::internal, "this producer must not run");
}

TEST(FlightCache, ProducesOnceAndThenHits) {
  Cache cache = make_cache();
  FlightOutcome outcome = FlightOutcome::hit;
  EXPECT_EQ(cache.peek(1), nullptr);
  const Pointer first = cache.get(1, produces("one"), &outcome).value();
  EXPECT_EQ(outcome, FlightOutcome::produced);
  const Pointer second = cache.get(1, refuse_to_produce, &outcome).value();
  EXPECT_EQ(outcome, FlightOutcome::hit);
  EXPECT_EQ(first.get(), second.get());
  EXPECT_EQ(cache.peek(1).get(), first.get());
  EXPECT_EQ(cache.size(), 1u);
}

TEST(FlightCache, SixteenThreadsShareOneProduction) {
  constexpr int kThreads = 16;
  Cache cache = make_cache();
  std::atomic<int> productions = 0;
  std::atomic<int> outcomes[3] = {};
  std::latch all_here(kThreads);
  std::vector<Pointer> values(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      FlightOutcome outcome = FlightOutcome::hit;
      all_here.arrive_and_wait();
      values[t] = cache
                      .get(
                          1,
                          [&] {
                            ++productions;
                            return produces("one")();
                          },
                          &outcome)
                      .value();
      ++outcomes[static_cast<int>(outcome)];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(productions, 1);
  EXPECT_EQ(outcomes[static_cast<int>(FlightOutcome::produced)], 1);
  for (const Pointer& value : values) EXPECT_EQ(value.get(), values[0].get());
}

// Starts a production of `key` in another thread and holds it until released.
class HeldProduction {
 public:
  HeldProduction(Cache& cache, int key, Cache::Producer then = produces("held"))
      : thread_([this, &cache, key, then] {
          result_ = cache.get(key, [this, &then] {
            started_.count_down();
            released_.wait();
            return then();
          });
        }) {
    started_.wait();
  }
  ~HeldProduction() {
    if (thread_.joinable()) (void)release();
  }
  Result<Pointer> release() {
    released_.count_down();
    thread_.join();
    return result_;
  }

 private:
  std::latch started_{1};
  std::latch released_{1};
  Result<Pointer> result_ = nullptr;
  std::thread thread_;
};

TEST(FlightCache, HitDoesNotWaitForTheProductionOfAnotherKey) {
  Cache cache = make_cache();
  ASSERT_TRUE(cache.get(1, produces("one")));
  HeldProduction held(cache, 2);
  FlightOutcome outcome = FlightOutcome::waited;
  EXPECT_EQ(**cache.get(1, refuse_to_produce, &outcome), "one");
  EXPECT_EQ(outcome, FlightOutcome::hit);
  EXPECT_EQ(cache.peek(2), nullptr) << "peek does not wait";
  EXPECT_EQ(**cache.get(3, produces("three")), "three");
  EXPECT_EQ(**held.release(), "held");
}

TEST(FlightCache, FailureGoesToAllWhoWaitAndIsRememberedForItsTime) {
  FlightLimits limits;
  limits.failure_ttl = std::chrono::hours(1);
  Cache cache = make_cache(limits);
  HeldProduction held(cache, 1, [] {
    return Result<Pointer>(fail(ErrorCode::compile_failed, "line 3: error", "the whole log"));
  });
  std::vector<std::future<Result<Pointer>>> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.push_back(
        std::async(std::launch::async, [&] { return cache.get(1, refuse_to_produce); }));
  }
  EXPECT_EQ(held.release().error().message, "line 3: error");
  for (auto& waiter : waiters) {
    const Result<Pointer> result = waiter.get();
    EXPECT_EQ(result.error().code, ErrorCode::compile_failed);
    EXPECT_EQ(result.error().log, "the whole log");
  }
  FlightOutcome outcome = FlightOutcome::produced;
  EXPECT_EQ(cache.get(1, produces("now"), &outcome).error().message, "line 3: error");
  EXPECT_EQ(outcome, FlightOutcome::hit);
  EXPECT_EQ(cache.size(), 0u);
  cache.erase(1);
  EXPECT_EQ(**cache.get(1, produces("now")), "now");
}

TEST(FlightCache, FailureWithoutATimeIsNotRemembered) {
  FlightLimits limits;
  limits.failure_ttl = std::chrono::milliseconds(0);
  Cache cache = make_cache(limits);
  EXPECT_FALSE(cache.get(1, refuse_to_produce));
  EXPECT_EQ(**cache.get(1, produces("now")), "now");
}

TEST(FlightCache, EvictsTheLeastRecentlyUsedBeyondTheCap) {
  FlightLimits limits;
  limits.bytes_max = 30;
  Cache cache = make_cache(limits);
  const std::string ten(10, 'x');
  const Pointer held = cache.get(1, produces(ten)).value();
  std::weak_ptr<const Value> not_held = *cache.get(2, produces(ten));
  for (const int key : {3}) ASSERT_TRUE(cache.get(key, produces(ten)));
  EXPECT_NE(cache.peek(1), nullptr);
  ASSERT_TRUE(cache.get(4, produces(ten)));
  EXPECT_EQ(cache.peek(2), nullptr);
  EXPECT_TRUE(not_held.expired()) << "an evicted value that nobody holds is freed";
  EXPECT_NE(cache.peek(1), nullptr);
  EXPECT_EQ(cache.size(), 3u);

  ASSERT_TRUE(cache.get(5, produces(std::string(30, 'y'))));
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(*held, ten) << "a value that somebody holds stays";
}

TEST(FlightCache, ValueLargerThanTheCapIsServedAndNotKept) {
  FlightLimits limits;
  limits.bytes_max = 30;
  Cache cache = make_cache(limits);
  ASSERT_TRUE(cache.get(1, produces("one")));
  EXPECT_EQ((**cache.get(2, produces(std::string(31, 'x')))).size(), 31u);
  EXPECT_EQ(cache.peek(2), nullptr);
  EXPECT_NE(cache.peek(1), nullptr);
}

TEST(FlightCache, EraseForgetsAValueThatOthersKeep) {
  Cache cache = make_cache();
  const Pointer one = cache.get(1, produces("one")).value();
  cache.erase(1);
  cache.erase(2);
  EXPECT_EQ(cache.peek(1), nullptr);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(*one, "one");
  EXPECT_EQ(**cache.get(1, produces("uno")), "uno");
}

TEST(FlightCache, FailureIsForgottenInTime) {
  FlightLimits limits;
  limits.failure_ttl = std::chrono::milliseconds(2);
  Cache cache = make_cache(limits);
  EXPECT_FALSE(cache.get(1, refuse_to_produce));
  int answered_from_memory = 0;
  while (!cache.get(1, produces("now"))) ++answered_from_memory;
  EXPECT_EQ(**cache.get(1, refuse_to_produce), "now");
}

TEST(FlightCache, ValueOutlivesTheThreadThatProducedIt) {
  Cache cache = make_cache();
  std::thread([&] { EXPECT_TRUE(cache.get(1, produces("one"))); }).join();
  EXPECT_EQ(**cache.get(1, refuse_to_produce), "one");
  // Its slot for reading is given back with it, and serves the next thread.
  for (int i = 0; i < 200; ++i) {
    std::thread([&] { EXPECT_EQ(*cache.peek(1), "one"); }).join();
  }
  cache.erase(1);
  EXPECT_EQ(cache.peek(1), nullptr);
}

TEST(FlightCache, SixtyFourThreadsProduceEachOfAThousandKeysOnce) {
  constexpr int kThreads = 64;
  constexpr int kKeys = 1000;
  Cache cache = make_cache();
  std::vector<std::atomic<int>> productions(kKeys);
  std::atomic<int> wrong = 0;
  std::latch all_here(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      all_here.arrive_and_wait();
      for (int i = 0; i < kKeys; ++i) {
        const int key = (i * 7 + t * 31) % kKeys;
        const auto value = cache.get(key, [&] {
          ++productions[static_cast<std::size_t>(key)];
          return produces(std::to_string(key))();
        });
        if (!value || **value != std::to_string(key)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  for (const std::atomic<int>& each : productions) EXPECT_EQ(each, 1);
  EXPECT_EQ(cache.size(), static_cast<std::size_t>(kKeys));
}

TEST(FlightCache, ProducerThatThrowsFailsAllWhoWait) {
  FlightLimits limits;
  limits.failure_ttl = std::chrono::milliseconds(0);
  Cache cache = make_cache(limits);
  HeldProduction held(cache, 1, []() -> Result<Pointer> { throw std::bad_alloc(); });
  std::atomic<bool> asks = false;
  auto waiter = std::async(std::launch::async, [&] {
    asks = true;
    return cache.get(1, produces("again"));
  });
  while (!asks) std::this_thread::yield();
  EXPECT_EQ(held.release().error().code, ErrorCode::out_of_memory);
  const Result<Pointer> waited = waiter.get();
  EXPECT_TRUE(waited || waited.error().code == ErrorCode::out_of_memory);
  const auto thrown = cache.get(2, []() -> Result<Pointer> { throw std::runtime_error("oops"); });
  EXPECT_EQ(thrown.error().code, ErrorCode::internal);
  EXPECT_NE(thrown.error().message.find("oops"), std::string::npos);
  EXPECT_FALSE(cache.get(3, [] { return Result<Pointer>(nullptr); })) << "no value is a failure";
}

TEST(FlightCache, SizeThatThrowsLeavesNobodyWaiting) {
  Cache cache({}, [](const Value&) -> std::uint64_t { throw std::bad_alloc(); });
  EXPECT_EQ(**cache.get(1, produces("one")), "one");
  EXPECT_EQ(cache.peek(1), nullptr);
  EXPECT_EQ(**cache.get(1, produces("again")), "again");
}

TEST(FlightCache, AskingForTheKeyThatOneProducesIsAnError) {
  Cache cache = make_cache();
  Error inner;
  const auto outer = cache.get(1, [&]() -> Result<Pointer> {
    auto again = cache.get(1, produces("inner"));
    if (!again) inner = again.error();
    return produces("outer")();
  });
  EXPECT_EQ(**outer, "outer");
  EXPECT_EQ(inner.code, ErrorCode::internal);
  EXPECT_EQ(**cache.get(2, [&] { return cache.get(3, produces("three")); }), "three");
}

TEST(FlightCache, ProducersThatWaitForEachOtherGetAnError) {
  FlightLimits limits;
  limits.failure_ttl = std::chrono::milliseconds(0);
  Cache cache = make_cache(limits);
  std::latch both_produce(2);
  std::atomic<int> errors = 0;
  const auto produce_by_asking = [&](int own, int other) {
    return cache.get(own, [&]() -> Result<Pointer> {
      both_produce.arrive_and_wait();
      if (!cache.get(other, produces("other"))) ++errors;
      return produces("own")();
    });
  };
  std::thread thread([&] { EXPECT_TRUE(produce_by_asking(1, 2)); });
  EXPECT_TRUE(produce_by_asking(2, 1));
  thread.join();
  // One of them closes the circle; the other one then gets its value.
  EXPECT_EQ(errors, 1);
}

TEST(FlightCache, ChildForkedDuringAProductionDoesItItself) {
  KILN_FORKS_BESIDE_THREADS();
  Cache cache = make_cache();
  ASSERT_TRUE(cache.get(7, produces("seven")));
  HeldProduction held(cache, 1);
  auto waiter = std::async(std::launch::async, [&] { return cache.get(1, produces("late")); });
  Child child([&] {
    FlightOutcome outcome = FlightOutcome::hit;
    const auto own = cache.get(1, produces("own"), &outcome);
    if (!own || **own != "own" || outcome != FlightOutcome::produced) return 1;
    return **cache.get(7, refuse_to_produce) == "seven" ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(**held.release(), "held");
  EXPECT_EQ(**waiter.get(), "held");
}

TEST(FlightCache, ForkWithinAProducerLandsInBothProcesses) {
  Cache cache = make_cache();
  pid_t child = 0;
  const auto value = cache.get(1, [&] {
    child = fork();
    return produces(child == 0 ? "child" : "parent")();
  });
  if (child == 0) _exit(value && **cache.get(1, refuse_to_produce) == "child" ? 0 : 1);
  EXPECT_EQ(**value, "parent");
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Readers race with insertions, growth, evictions and erasures, and dawdle where they must not be
// pulled the memory from under; a sanitizer watches.
TEST(FlightCache, ReadersSurviveAChangingCache) {
  constexpr int kThreads = 8;
  constexpr int kKeys = 400;
  FlightLimits limits;
  limits.bytes_max = 1500;
  FlightCache<SlowKey, Value> cache(limits, [](const Value& value) { return value.size(); });
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::uint64_t state = static_cast<std::uint64_t>(t) + 1;
      for (int i = 0; i < 5'000; ++i) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        const SlowKey key{static_cast<int>((state >> 33) % kKeys)};
        const std::string expected = std::to_string(key.number) + "-value";
        if (i % 100 == 0) cache.erase(key);
        const Pointer value = i % 4 ? cache.peek(key) : cache.get(key, produces(expected)).value();
        if (value && *value != expected) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(cache.size(), 1500u / 7);
}

}  // namespace
}  // namespace kiln::test
