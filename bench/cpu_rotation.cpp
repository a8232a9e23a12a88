// SPDX-License-Identifier: Apache-2.0
#include "bench/cpu_rotation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "runtime/reference/memory_passes.h"

namespace kiln::bench {
namespace {

constexpr double kRotationBytes = 256 << 20;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start, int calls) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / calls;
}

// Of a working set that moves so many bytes, in whole passes; the copy's target lies behind it.
std::int64_t working_set(Traffic traffic, double bytes_moved) {
  const double once = traffic == Traffic::read ? bytes_moved : bytes_moved / 2;
  return std::max<std::int64_t>(1, std::llround(once / kPassBytes)) * kPassBytes;
}

}  // namespace

int rotation_count(double working_set_bytes) {
  return std::max(2, static_cast<int>(std::ceil(kRotationBytes / working_set_bytes)));
}

Rotation::Rotation(Runtime& runtime, std::string_view op, const std::vector<NameValue>& values,
                   int count) {
  const Op& named = *require(find_op(op));
  const OpArguments arguments = require(parse_arguments(named, values));
  const Arch arch = require(Arch::parse("cpu"));
  for (int i = 0; i < count; ++i) {
    trials_.push_back(
        require(make_trial(runtime, named, arguments, arch, static_cast<std::uint64_t>(i) + 1)));
  }
}

double Rotation::call_ms(int turns) {
  const Clock::time_point start = Clock::now();
  for (int turn = 0; turn < turns; ++turn) {
    for (const auto& trial : trials_) {
      if (!trial->launch()) return std::nan("");
    }
  }
  return ms_since(start, turns * static_cast<int>(trials_.size()));
}

void TrafficRotation::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

TrafficRotation::TrafficRotation(Traffic traffic, double bytes_moved, int count)
    : traffic_(traffic), working_set_bytes_(working_set(traffic, bytes_moved)), count_(count) {
  const std::int64_t copies = traffic == Traffic::copy ? 2 : 1;
  const auto bytes = static_cast<std::size_t>(working_set_bytes_ * count * copies);
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kPassBytes, bytes)));
  if (!memory_) throw std::bad_alloc();
  std::memset(memory_.get(), 1, bytes);
}

void TrafficRotation::pass(std::byte* data, std::int64_t bytes) {
  switch (traffic_) {
    case Traffic::read:
      sink_ += read_pass(data, bytes);
      return;
    case Traffic::read_modify_write:
      return read_modify_write_pass(data, bytes);
    case Traffic::copy:
      return copy_pass(data + working_set_bytes_ * count_, data, bytes);
  }
}

double TrafficRotation::call_ms(int turns) {
  const Clock::time_point start = Clock::now();
  for (int call = 0; call < turns * count_; ++call) {
    std::byte* data = memory_.get() + call % count_ * working_set_bytes_;
    pool_.run(working_set_bytes_ / kPassBytes,
              [&](unsigned, std::int64_t first, std::int64_t last) {
                pass(data + first * kPassBytes, (last - first) * kPassBytes);
              });
  }
  return ms_since(start, turns * count_);
}

}  // namespace kiln::bench
