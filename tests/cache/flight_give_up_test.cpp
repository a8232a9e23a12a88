// SPDX-License-Identifier: Apache-2.0
// Giving up: who waits goes at once, and a production that nobody wants any more is told to stop.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "cache/flight_cache.h"

namespace kiln {
namespace {

using Cache = FlightCache<int, std::string>;
using Pointer = Cache::Pointer;

class GiveUpTest : public testing::Test {
 protected:
  // Begins, and ends when it is told to stop, or by `finish`.
  Cache::StoppableProducer producer() {
    return [this](const std::stop_token& stop) -> Result<Pointer> {
      ++begun_;
      begun_.notify_all();
      while (!stop.stop_requested() && !finish_) std::this_thread::yield();
      if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped");
      return std::make_shared<const std::string>("made");
    };
  }
  void wait_until_begun(int count) {
    for (int seen = begun_; seen < count; seen = begun_) begun_.wait(seen);
  }

  Cache cache_{FlightLimits{}, [](const std::string&) { return 1; }};
  std::atomic<int> begun_{0};
  std::atomic<bool> finish_{false};
};

TEST_F(GiveUpTest, TheOnlyOneWhoWantsItStopsIt) {
  std::stop_source stop;
  std::thread caller([&] {
    const auto got = cache_.get_until(1, producer(), stop.get_token());
    EXPECT_EQ(got.error().code, ErrorCode::cancelled);
  });
  wait_until_begun(1);
  stop.request_stop();
  caller.join();
  // It is no failure of the key's: the next one produces.
  finish_ = true;
  FlightOutcome outcome = FlightOutcome::hit;
  const auto got = cache_.get_until(1, producer(), {}, &outcome);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(outcome, FlightOutcome::produced);
}

TEST_F(GiveUpTest, AWaiterGoesAtOnceAndTheProductionGoesOn) {
  std::stop_source stop;
  std::thread caller([&] {
    const auto got = cache_.get_until(1, producer(), {});
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(**got, "made");
  });
  wait_until_begun(1);
  std::thread waiter([&] {
    const auto got = cache_.get_until(1, producer(), stop.get_token());
    EXPECT_EQ(got.error().code, ErrorCode::cancelled);
  });
  stop.request_stop();
  waiter.join();  // although nothing has been produced
  EXPECT_FALSE(cache_.peek(1));
  finish_ = true;
  caller.join();
  EXPECT_EQ(begun_, 1);
}

TEST_F(GiveUpTest, AsLongAsOneWaitsTheProducerGoesOn) {
  std::stop_source stop;
  std::thread caller([&] {
    // The value is there in the end, so it gets it, although it gave up.
    EXPECT_TRUE(cache_.get_until(1, producer(), stop.get_token()));
  });
  wait_until_begun(1);
  std::stop_source second;
  std::atomic<bool> joined{false};
  FlightOutcome outcome = FlightOutcome::hit;
  std::thread waiter([&] {
    joined = true;
    const auto got = cache_.get_until(1, producer(), second.get_token(), &outcome);
    ASSERT_TRUE(got) << got.error().message;
  });
  while (!joined || cache_.waiting() == 0) std::this_thread::yield();
  stop.request_stop();
  EXPECT_FALSE(cache_.peek(1));
  finish_ = true;
  caller.join();
  waiter.join();
  EXPECT_EQ(outcome, FlightOutcome::waited);
  EXPECT_EQ(begun_, 1);
}

TEST_F(GiveUpTest, TheLastOfManyStopsIt) {
  std::stop_source stop;
  std::vector<std::thread> threads;
  std::atomic<int> cancelled{0};
  const auto ask = [&] {
    const auto got = cache_.get_until(1, producer(), stop.get_token());
    cancelled += !got && got.error().code == ErrorCode::cancelled ? 1 : 0;
  };
  threads.emplace_back(ask);
  wait_until_begun(1);
  for (int i = 0; i < 7; ++i) threads.emplace_back(ask);
  while (cache_.waiting() < 7) std::this_thread::yield();
  stop.request_stop();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cancelled, 8);
  EXPECT_EQ(begun_, 1);
}

// Whoever comes while a stopped production is still ending is not stopped with it.
TEST_F(GiveUpTest, WhoComesAfterTheStopProducesAnew) {
  std::stop_source stop;
  std::atomic<bool> let_go{false};
  std::atomic<bool> stopped{false};
  std::thread caller([&] {
    const auto slow = [&](const std::stop_token& token) -> Result<Pointer> {
      ++begun_;
      begun_.notify_all();
      while (!token.stop_requested()) std::this_thread::yield();
      stopped = true;
      while (!let_go) std::this_thread::yield();
      return fail(ErrorCode::cancelled, "stopped");
    };
    EXPECT_FALSE(cache_.get_until(1, slow, stop.get_token()));
  });
  wait_until_begun(1);
  stop.request_stop();
  while (!stopped) std::this_thread::yield();
  finish_ = true;
  std::thread late([&] {
    const auto got = cache_.get_until(1, producer(), {});
    ASSERT_TRUE(got) << got.error().message;
  });
  while (cache_.waiting() == 0) std::this_thread::yield();
  let_go = true;
  caller.join();
  late.join();
  EXPECT_EQ(begun_, 2);
}

TEST_F(GiveUpTest, GivenUpBeforeItBeganNothingIsProduced) {
  std::stop_source stop;
  stop.request_stop();
  const auto got = cache_.get_until(1, producer(), stop.get_token());
  EXPECT_EQ(got.error().code, ErrorCode::cancelled);
  EXPECT_EQ(begun_, 0);
}

}  // namespace
}  // namespace kiln
