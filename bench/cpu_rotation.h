// SPDX-License-Identifier: Apache-2.0
// Ops of the native CPU and their limits, measured alike: calls in a row on awake threads, each on
// memory that the caches no longer hold, as a model's layers follow one another. So both pay for
// the handing out of work in each call and neither for threads that slept.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/drivers/thread_pool.h"
#include "runtime/reference/trial.h"

namespace kiln::bench {

// Copies of one problem that together take more memory than any cache has: `working_set_bytes` is
// what one call touches. At least two.
int rotation_count(double working_set_bytes);

// Calls of an op, each on the next of `count` problems. Ends the program where one cannot be made.
class Rotation {
 public:
  Rotation(Runtime& runtime, std::string_view op, const std::vector<NameValue>& values, int count);

  // One call, as the mean over a turn through all problems `turns` times; NaN where one fails.
  double call_ms(int turns = 1);
  Trial& trial() { return *trials_.front(); }

 private:
  std::vector<std::unique_ptr<Trial>> trials_;
};

enum class Traffic { read, read_modify_write, copy };

// As many bytes moved by loops that do nothing else, in as many calls on a pool of threads.
class TrafficRotation {
 public:
  // `bytes_moved`: by one call; read-modify-write and copy move each byte twice.
  TrafficRotation(Traffic traffic, double bytes_moved, int count);

  double call_ms(int turns = 1);

 private:
  void pass(std::byte* data, std::int64_t bytes);

  struct Free {
    void operator()(std::byte* memory) const;
  };
  Traffic traffic_;
  std::int64_t working_set_bytes_;
  int count_;
  std::unique_ptr<std::byte[], Free> memory_;
  ThreadPool pool_;
  std::atomic<std::uint32_t> sink_{0};  // keeps what was read from being optimized away
};

}  // namespace kiln::bench
