// SPDX-License-Identifier: Apache-2.0
// How a kernel is launched, in CUDA's terms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>

#include "jit/base/export.h"

namespace kiln {

struct Dim3 {
  std::uint32_t x = 1, y = 1, z = 1;
  std::uint64_t count() const { return std::uint64_t{x} * y * z; }
  friend bool operator==(const Dim3&, const Dim3&) = default;
};

struct LaunchDims {
  Dim3 grid;   // blocks; on the native CPU: work items, split over the worker threads
  Dim3 block;  // threads per block; 1 on the native CPU
  std::uint32_t shared_bytes_dynamic = 0;
  Dim3 cluster;  // blocks per cluster, sm_90 and later
  // The kernel waits (griddepcontrol.wait) before it reads what the one before it wrote, so the
  // driver may start it early. sm_90 and later; ignored elsewhere.
  bool programmatic_dependent_launch = false;
  // The kernel shares its work out among however many blocks there are. grid.x is the most that it
  // has work for; where the device holds fewer blocks at once, as many as it holds are launched.
  bool fill_device = false;
};

// One launch of one entry point of an artifact; a call to an op is one or a few of these in order.
struct LaunchStep {
  std::uint32_t entry = 0;  // index into CompileInput::name_expressions
  LaunchDims dims;
};

// The launches of a call, in order. Holds its steps itself: a call must not allocate.
class KILN_API LaunchPlan {
 public:
  static constexpr std::size_t kStepsMax = 6;

  LaunchPlan() = default;
  LaunchPlan(std::initializer_list<LaunchStep> steps) {
    for (const LaunchStep& step : steps) push_back(step);
  }

  // More than kStepsMax are a bug in the caller and end the program.
  void push_back(const LaunchStep& step) { add() = step; }

  // A step to be filled in where it is.
  LaunchStep& add() {
    if (size_ == kStepsMax) refuse_step();
    return *new (&room_.steps[size_++]) LaunchStep();
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const LaunchStep* begin() const { return room_.steps; }
  const LaunchStep* end() const { return room_.steps + size_; }
  const LaunchStep& operator[](std::size_t i) const { return room_.steps[i]; }
  const LaunchStep& front() const { return room_.steps[0]; }
  const LaunchStep& back() const { return room_.steps[size_ - 1]; }

 private:
  [[noreturn]] static void refuse_step();

  // Steps begin when they are added: most calls have one, and to clear room for all of them takes
  // longer than the rest of a plan.
  union Room {
    Room() {}
    LaunchStep steps[kStepsMax];
  };

  Room room_;
  std::size_t size_ = 0;
};

}  // namespace kiln
