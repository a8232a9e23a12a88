// SPDX-License-Identifier: Apache-2.0
// Hits in memory: how long one takes, and how they scale with threads.
#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <latch>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bench/cache_bench.h"
#include "cache/flight_cache.h"

namespace {

// 64 bytes: what a call of an op says of its shape, arch and device.
struct Request {
  std::uint64_t op = 0;
  std::uint64_t arch_and_device = 0;
  std::int64_t shape[6] = {};

  friend bool operator==(const Request& a, const Request& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  }
};

}  // namespace

template <>
struct std::hash<Request> {
  std::size_t operator()(const Request& request) const noexcept {
    return XXH3_64bits(&request, sizeof request);
  }
};

namespace kiln {
namespace {

using bench::Contestant;
using bench::ns_since;
using Clock = std::chrono::steady_clock;

Request request_of(int number) {
  Request request;
  request.op = 7;
  request.shape[2] = number;
  return request;
}

constexpr int kKeys = 1000;
constexpr int kHitsPerThread = 4'000'000;  // some 50 ms, so that starting threads costs nothing

struct Loaded {
  int number = 0;
};

class MutexMap {
 public:
  void put(int number) { map_.emplace(request_of(number), new_value(number)); }
  std::shared_ptr<const Loaded> peek(const Request& key) {
    const std::lock_guard lock(mutex_);
    const auto found = map_.find(key);
    return found == map_.end() ? nullptr : found->second;
  }

 private:
  static std::shared_ptr<const Loaded> new_value(int number) {
    return std::make_shared<const Loaded>(Loaded{number});
  }
  std::mutex mutex_;
  std::unordered_map<Request, std::shared_ptr<const Loaded>> map_;
};

// What nothing shared could beat: a copy of the table per thread that nobody writes to, no memory
// management, no reference held.
class CopyPerThread {
 public:
  void put(int number) {
    const Request key = request_of(number);
    std::size_t at = std::hash<Request>{}(key) % kSlots;
    while (slots_[at].value.number >= 0) at = (at + 1) % kSlots;
    slots_[at] = {key, {number}};
  }
  const Loaded* peek(const Request& key) const {
    std::size_t at = std::hash<Request>{}(key) % kSlots;
    while (slots_[at].value.number >= 0 && !(slots_[at].key == key)) at = (at + 1) % kSlots;
    return slots_[at].value.number >= 0 ? &slots_[at].value : nullptr;
  }

 private:
  static constexpr std::size_t kSlots = 4096;
  struct Slot {
    Request key;
    Loaded value{-1};
  };
  std::vector<Slot> slots_ = std::vector<Slot>(kSlots);
};

template <class Cache>
Cache& for_thread(Cache& cache) {
  return cache;
}
CopyPerThread for_thread(CopyPerThread& cache) {
  return cache;
}

// Wall time per hit over all threads, from a typed request: packed, hashed, found, held, released.
template <class Cache>
double hit_ns(Cache& cache, int thread_count) {
  std::vector<Request> requests;
  for (int i = 0; i < kKeys; ++i) requests.push_back(request_of(i));
  std::latch ready(thread_count + 1);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t) {
    threads.emplace_back([&, t] {
      decltype(auto) own = for_thread(cache);
      ready.arrive_and_wait();
      int missed = 0;
      std::size_t at = static_cast<std::size_t>(t) * 131;
      for (int i = 0; i < kHitsPerThread; ++i) {
        at = (at + 7) % kKeys;
        const auto value = own.peek(requests[at]);
        missed += !value || value->number != static_cast<int>(at);
      }
      wrong += missed;
    });
  }
  ready.arrive_and_wait();
  const Clock::time_point start = Clock::now();
  for (std::thread& thread : threads) thread.join();
  if (wrong != 0) return std::nan("");
  return ns_since(start) / (static_cast<double>(kHitsPerThread) * thread_count);
}

// What N threads are worth where they share nothing, not even memory: arithmetic in registers.
double spin_ns(int thread_count) {
  std::latch ready(thread_count + 1);
  std::atomic<std::uint64_t> sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t) {
    threads.emplace_back([&, t] {
      std::uint64_t state = static_cast<std::uint64_t>(t) + 1;
      ready.arrive_and_wait();
      for (int i = 0; i < 4 * kHitsPerThread; ++i) state = state * 6364136223846793005ULL + 1;
      sum += state;
    });
  }
  ready.arrive_and_wait();
  const Clock::time_point start = Clock::now();
  for (std::thread& thread : threads) thread.join();
  if (sum == 0) return std::nan("");
  return ns_since(start) / (static_cast<double>(kHitsPerThread) * thread_count);
}

}  // namespace

void bench::memory_hits(Format format) {
  FlightCache<Request, Loaded> cache({}, [](const Loaded&) { return 1; });
  MutexMap map;
  CopyPerThread copies;
  for (int i = 0; i < kKeys; ++i) {
    (void)cache.get(request_of(i), [&] {
      return Result<std::shared_ptr<const Loaded>>(std::make_shared<const Loaded>(Loaded{i}));
    });
    map.put(i);
    copies.put(i);
  }
  std::vector<Contestant> contestants;
  for (const int threads : {1, 2, 8}) {
    contestants.push_back({fmt::format("typed request, {} thread(s)", threads),
                           [&, threads] { return hit_ns(cache, threads); }});
  }
  for (const int threads : {1, 2, 8}) {
    contestants.push_back({fmt::format("mutex and map, {} thread(s)", threads),
                           [&, threads] { return hit_ns(map, threads); }});
  }
  for (const int threads : {1, 2, 8}) {
    contestants.push_back({fmt::format("this machine's limit, {} thread(s)", threads),
                           [&, threads] { return hit_ns(copies, threads); }});
  }
  for (const int threads : {1, 2, 8}) {
    contestants.push_back({fmt::format("spinning in registers, {} thread(s)", threads),
                           [threads] { return spin_ns(threads); }});
  }
  const auto rows = measure_interleaved(contestants, 11);
  print({"memory hit of 1,000 keys, wall time per hit", "ns",
         "hashing 64 bytes and one cache line of a table; goals: 30 ns, 2 threads at most "
         "0.59, 8 threads no more than 2"},
        rows, format);
}

}  // namespace kiln
