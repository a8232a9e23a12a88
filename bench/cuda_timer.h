// SPDX-License-Identifier: Apache-2.0
// Streams, events and graphs of libcuda, which Kiln itself has no use for: they are the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "jit/base/result.h"
#include "jit/base/shared_library.h"
#include "kiln/kernel.h"

namespace kiln::bench {

// On the primary context of one device, which it makes current on this thread. Any call that fails
// ends the program with the function's name.
class CudaTimer {
 public:
  // Errors: unavailable, when there is no libcuda or it lacks a function.
  static Result<CudaTimer> open(int device);

  Stream stream() const { return {stream_}; }
  std::int64_t l2_bytes() const { return l2_bytes_; }
  std::string device_name() const { return device_name_; }

  // Microseconds on the device of what `work` puts on the stream, from one event to another.
  double time_us(const std::function<void()>& work) const;
  // The same for `replays` replays of a graph captured from `work`, all together.
  double graph_time_us(const std::function<void()>& work, int replays) const;

  void copy(void* to, const void* from, std::size_t bytes) const;

 private:
  explicit CudaTimer(SharedLibrary library) : library_(std::move(library)) {}
  template <class... Arguments>
  void call(const char* name, Arguments... arguments) const;

  SharedLibrary library_;
  void* stream_ = nullptr;
  void* first_ = nullptr;
  void* last_ = nullptr;
  std::int64_t l2_bytes_ = 0;
  std::string device_name_;
};

}  // namespace kiln::bench
