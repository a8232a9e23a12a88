// SPDX-License-Identifier: Apache-2.0
// FlightCache: an in-memory cache and single flight in one.
//
// For each key one caller produces the value, all others who ask meanwhile wait for it and get the
// same. A hit never waits for a production of another key. Values are shared and immutable.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "jit/base/result.h"

namespace kiln {

enum class FlightOutcome { hit, waited, produced };

struct FlightLimits {
  std::uint64_t bytes_max = std::uint64_t{256} << 20;
  // How long a failure is answered from memory before a caller may try again.
  std::chrono::milliseconds failure_ttl{1000};
};

// Thread-safe. Key: hashable by std::hash, equality-comparable, copyable.
template <class Key, class Value>
class FlightCache {
 public:
  using Pointer = std::shared_ptr<const Value>;
  // Runs on the caller's thread, without any lock held.
  using Producer = std::function<Result<Pointer>()>;
  using SizeOf = std::function<std::uint64_t(const Value&)>;

  FlightCache(FlightLimits limits, SizeOf size_of);
  ~FlightCache();

  // The value of `key`; calls `produce` if there is none. A failure goes to all who wait.
  // `outcome`, if given, says which of the three it was.
  Result<Pointer> get(const Key& key, const Producer& produce, FlightOutcome* outcome = nullptr);
  // The value if it is there and ready; never waits.
  Pointer peek(const Key& key) const;
  // Forgets a value; those who hold it keep it.
  void erase(const Key& key);
  std::size_t size() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
