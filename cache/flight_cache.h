// SPDX-License-Identifier: Apache-2.0
// FlightCache: an in-memory cache and single flight in one.
//
// For each key one caller produces the value, all others who ask meanwhile wait for it and get the
// same. A hit takes no lock and never waits for a production. Values are shared and immutable.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cache/fork.h"
#include "cache/read_table.h"
#include "jit/base/result.h"

namespace kiln {

// hit: answered from memory, which a remembered failure is too.
enum class FlightOutcome { hit, waited, produced };

struct FlightLimits {
  std::uint64_t bytes_max = std::uint64_t{256} << 20;
  // How long a failure is answered from memory before a caller may try again.
  std::chrono::milliseconds failure_ttl{1000};
};

// Thread-safe. Key: hashable by std::hash, equality-comparable, copyable.
//
// After fork() the child has the values and none of the productions of its parent's other threads:
// whoever asks there produces anew.
template <class Key, class Value>
class FlightCache {
 public:
  using Pointer = std::shared_ptr<const Value>;
  // Runs on the caller's thread, without any lock held. Must not return null. What it throws
  // becomes an Error: out_of_memory or internal. `stop` is requested once nobody wants the value
  // any more: neither the caller nor anyone who waits.
  using StoppableProducer = std::function<Result<Pointer>(const std::stop_token& stop)>;
  using Producer = std::function<Result<Pointer>()>;
  // What a value counts for against `bytes_max`.
  using SizeOf = std::function<std::uint64_t(const Value&)>;

  FlightCache(FlightLimits limits, SizeOf size_of)
      : limits_(limits), size_of_(std::move(size_of)), fork_(fork_hooks()) {}

  // The value of `key`; calls `produce` if there is none. A failure goes to all who wait.
  // `outcome`, if given, says which of the three it was. A value larger than the whole cap is
  // returned and not kept; else the least recently used ones make room ("recently" as of the last
  // new value, so that hits write to no shared counter).
  // Errors: the producer's; internal when a producer asks, on its own thread or through others that
  // wait for each other, for the key that it is producing; out_of_memory.
  Result<Pointer> get(const Key& key, const Producer& produce, FlightOutcome* outcome = nullptr) {
    if (Pointer value = peek_hit(key, outcome)) return value;
    return produce_or_wait(
        key, [&produce](const std::stop_token&) { return produce(); }, {}, outcome);
  }

  // get() for a caller who may give up, by requesting `give_up`. Who waits for another's production
  // then returns at once; who produces returns when the producer does, which is told to stop only
  // if all who want the value have given up. Errors: also cancelled.
  Result<Pointer> get_until(const Key& key, const StoppableProducer& produce,
                            const std::stop_token& give_up, FlightOutcome* outcome = nullptr) {
    if (Pointer value = peek_hit(key, outcome)) return value;
    return produce_or_wait(key, produce, give_up, outcome);
  }

  // The value if it is there and ready; never waits for a production.
  Pointer peek(const Key& key) const {
    const std::size_t hash = std::hash<Key>{}(key);
    const epoch::Stay stay;
    if (stay) return read(key, hash, stay.lane());
    const std::lock_guard lock(mutex_);
    return read(key, hash, 0);
  }

  // Forgets a value or a remembered failure; those who hold the value keep it. A production under
  // way goes on and its value will be kept.
  void erase(const Key& key) {
    Nodes garbage;
    const std::lock_guard lock(mutex_);
    failures_.erase(key);
    if (Node* node = find(key, std::hash<Key>{}(key))) remove(node);
    garbage = table_.take_unreachable();
  }

  // How many threads wait for a production of another.
  std::size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }

  // How many values are there.
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return table_.size();
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Threads that copied one shared_ptr would queue for its reference count, so a value has several
  // counts, each in a cache line of its own.
  static constexpr std::size_t kCounts = 8;
  struct alignas(64) Counted {
    Pointer value;
  };

  struct Node {
    Node(const Key& its_key, const Pointer& value, std::uint64_t size)
        : hash(std::hash<Key>{}(its_key)), size_bytes(size), key(its_key) {
      for (Pointer& pointer : pointers) {
        pointer = Pointer(std::make_shared<Counted>(Counted{value}), value.get());
      }
    }
    const std::size_t hash;
    const std::uint64_t size_bytes;
    mutable std::atomic<std::uint64_t> used{0};  // the generation of its last use
    const Key key;
    std::array<Pointer, kCounts> pointers;  // all to the one value
  };
  // Destroyed after the lock is released, since a value's destructor is code of others.
  using Nodes = std::vector<std::unique_ptr<Node>>;

  // One production under way. Waiters sleep on `news`, not on a condition variable: destroying one
  // in a forked child would wait for threads that exist only in the parent.
  struct Flight {
    explicit Flight(std::thread::id by) : producer(by) {}
    const std::thread::id producer;
    std::optional<Result<Pointer>> result;  // written once, before done
    std::atomic<bool> done{false};
    std::atomic<std::uint32_t> news{0};  // changes when it is done, and when a waiter gives up
    std::atomic<int> wanted_by{1};       // at zero it stays
    std::stop_source stop;               // requested when nobody wants it

    bool join() {
      int wanting = wanted_by.load();
      while (wanting > 0 && !wanted_by.compare_exchange_weak(wanting, wanting + 1)) {
      }
      return wanting > 0;
    }
    void leave() {
      if (wanted_by.fetch_sub(1) == 1) stop.request_stop();
    }
    void tell() {
      news.fetch_add(1, std::memory_order_release);
      news.notify_all();
    }
  };
  using FlightPointer = std::shared_ptr<Flight>;
  using GiveUp = std::stop_callback<std::function<void()>>;

  struct Failure {
    Error error;
    Clock::time_point until;
  };

  Node* find(const Key& key, std::size_t hash) const {
    return table_.find(hash, [&](const Node& node) { return node.key == key; });
  }

  Pointer read(const Key& key, std::size_t hash, std::size_t lane) const {
    const Node* node = find(key, hash);
    if (!node) return nullptr;
    const std::uint64_t generation = generation_.load(std::memory_order_relaxed);
    if (node->used.load(std::memory_order_relaxed) != generation) {
      node->used.store(generation, std::memory_order_relaxed);
    }
    return node->pointers[lane % kCounts];
  }

  Pointer peek_hit(const Key& key, FlightOutcome* outcome) const {
    Pointer value = peek(key);
    if (value && outcome) *outcome = FlightOutcome::hit;
    return value;
  }

  Result<Pointer> produce_or_wait(const Key& key, const StoppableProducer& produce,
                                  const std::stop_token& give_up, FlightOutcome* outcome) {
    try {
      return join_or_produce(key, produce, give_up, outcome);
    } catch (const std::bad_alloc&) {
      return fail(ErrorCode::out_of_memory, "no memory to wait for or begin a production");
    }
  }

  Result<Pointer> join_or_produce(const Key& key, const StoppableProducer& produce,
                                  const std::stop_token& give_up, FlightOutcome* outcome) {
    const auto say = [&](FlightOutcome what) {
      if (outcome) *outcome = what;
    };
    const std::thread::id self = std::this_thread::get_id();
    for (;;) {
      std::unique_lock lock(mutex_);
      say(FlightOutcome::hit);
      if (Pointer value = read(key, std::hash<Key>{}(key), 0)) return value;
      if (const Failure* failure = remembered_failure(key)) return fail(failure->error);
      if (give_up.stop_requested()) return given_up();
      const auto under_way = flights_.find(key);
      if (under_way == flights_.end()) {
        const FlightPointer flight = std::make_shared<Flight>(self);
        flights_.emplace(key, flight);
        lock.unlock();
        say(FlightOutcome::produced);
        const GiveUp leave(give_up, [&flight] { flight->leave(); });
        flight->result = run(produce, flight->stop.get_token());
        land(key, *flight);
        return *flight->result;
      }
      const FlightPointer flight = under_way->second;
      say(FlightOutcome::waited);
      KILN_TRY(check_no_cycle(*flight, self));
      // Given up by all who wanted it, it is about to end; then it is this caller's to produce.
      const bool joined = flight->join();
      waiting_.emplace(self, flight.get());
      lock.unlock();
      wait(*flight, give_up);
      lock.lock();
      waiting_.erase(self);
      if (!flight->done.load(std::memory_order_acquire)) {
        lock.unlock();
        if (joined) flight->leave();
        return given_up();
      }
      if (joined) return *flight->result;
    }
  }

  static tl::unexpected<Error> given_up() {
    return fail(ErrorCode::cancelled, "given up while it was being produced");
  }

  // Until the flight is done or `give_up` is requested.
  static void wait(Flight& flight, const std::stop_token& give_up) {
    const GiveUp wake(give_up, [&flight] { flight.tell(); });
    for (;;) {
      const std::uint32_t news = flight.news.load(std::memory_order_acquire);
      if (flight.done.load(std::memory_order_acquire) || give_up.stop_requested()) return;
      flight.news.wait(news, std::memory_order_acquire);
    }
  }

  // Waiting for a thread that waits, over however many others, for this one would never end.
  Result<void> check_no_cycle(const Flight& wanted, std::thread::id self) const {
    const Flight* flight = &wanted;
    while (flight->producer != self) {
      const auto next = waiting_.find(flight->producer);
      if (next == waiting_.end()) return {};
      flight = next->second;
      // It has what it waited for and is about to go on.
      if (flight->done.load(std::memory_order_acquire)) return {};
    }
    return fail(ErrorCode::internal,
                "a producer asked for the very value that it is producing; it must not");
  }

  static Result<Pointer> run(const StoppableProducer& produce, const std::stop_token& stop) {
    try {
      Result<Pointer> result = produce(stop);
      if (result && !*result) return fail(ErrorCode::internal, "the producer returned no value");
      return result;
    } catch (const std::bad_alloc&) {
      return fail(ErrorCode::out_of_memory, "no memory to produce the value");
    } catch (const std::exception& exception) {
      return fail(ErrorCode::internal, std::string("the producer threw: ") + exception.what());
    } catch (...) {
      return fail(ErrorCode::internal, "the producer threw an unknown exception");
    }
  }

  // Whatever happens here, the flight ends and those who wait for it go on.
  void land(const Key& key, Flight& flight) {
    const Result<Pointer>& result = *flight.result;
    try {
      std::unique_ptr<Node> node = result ? node_of(key, *result) : nullptr;
      Nodes garbage;
      const std::lock_guard lock(mutex_);
      flights_.erase(key);
      if (node) garbage = keep(std::move(node));
      // Who gave up, or was not allowed to produce, said nothing about the value.
      if (!result && result.error().code != ErrorCode::cancelled &&
          result.error().code != ErrorCode::cache_miss) {
        remember(key, result.error());
      }
    } catch (
        ...) {  // no memory to keep it, or size_of threw: it goes to those who wait, no further
      const std::lock_guard lock(mutex_);
      flights_.erase(key);
    }
    flight.done.store(true, std::memory_order_release);
    flight.tell();
  }

  // Null for a value that is larger than the whole cap.
  std::unique_ptr<Node> node_of(const Key& key, const Pointer& value) const {
    const std::uint64_t size_bytes = size_of_(*value);
    if (size_bytes > limits_.bytes_max) return nullptr;
    return std::make_unique<Node>(key, value, size_bytes);
  }

  Nodes keep(std::unique_ptr<Node> node) {
    if (bytes_ + node->size_bytes > limits_.bytes_max) {
      evict_to(limits_.bytes_max - node->size_bytes);
    }
    const std::uint64_t size_bytes = node->size_bytes;
    node->used = generation_.fetch_add(1, std::memory_order_relaxed);
    table_.insert(std::move(node));
    bytes_ += size_bytes;
    return table_.take_unreachable();
  }

  void evict_to(std::uint64_t bytes_max) {
    std::vector<std::pair<std::uint64_t, Node*>> oldest_first;
    oldest_first.reserve(table_.size());
    table_.for_each([&](Node* node) { oldest_first.emplace_back(node->used.load(), node); });
    std::sort(oldest_first.begin(), oldest_first.end());
    for (const auto& [used, node] : oldest_first) {
      if (bytes_ <= bytes_max) return;
      remove(node);
    }
  }

  void remove(Node* node) {
    const std::uint64_t size_bytes = node->size_bytes;
    table_.remove(node);
    bytes_ -= size_bytes;
  }

  const Failure* remembered_failure(const Key& key) {
    const auto found = failures_.find(key);
    if (found == failures_.end()) return nullptr;
    if (Clock::now() < found->second.until) return &found->second;
    failures_.erase(found);
    return nullptr;
  }

  void remember(const Key& key, const Error& error) {
    const Clock::time_point time = Clock::now();
    std::erase_if(failures_, [&](const auto& each) { return each.second.until <= time; });
    if (limits_.failure_ttl.count() > 0) {
      failures_.insert_or_assign(key, Failure{error, time + limits_.failure_ttl});
    }
  }

  ForkHooks fork_hooks() {
    return {[this] { mutex_.lock(); },
            [this](ForkSide side) {
              if (side == ForkSide::child) abandon_other_threads();
              mutex_.unlock();
            }};
  }

  void abandon_other_threads() {
    const std::thread::id self = std::this_thread::get_id();
    std::erase_if(flights_, [&](const auto& each) { return each.second->producer != self; });
    waiting_.clear();
  }

  const FlightLimits limits_;
  const SizeOf size_of_;

  mutable std::mutex mutex_;  // guards all below, but for what readers reach in table_
  ReadTable<Node> table_;
  std::unordered_map<Key, FlightPointer> flights_;
  std::unordered_map<Key, Failure> failures_;
  std::unordered_map<std::thread::id, const Flight*> waiting_;
  std::uint64_t bytes_ = 0;
  std::atomic<std::uint64_t> generation_{1};  // advances with each value kept

  const ForkRegistration fork_;
};

}  // namespace kiln
