// SPDX-License-Identifier: Apache-2.0
// What the benches on an NVIDIA GPU share: the card that is here and its limits, measured.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/cuda_timer.h"
#include "bench/interleaved.h"
#include "kiln/runtime.h"

namespace kiln::bench {

constexpr int kSkipped = 77;  // exit code: there is no GPU here

// The value, or the end of the program with the error's message.
[[noreturn]] void give_up(const Error& error);
template <class T>
T require(Result<T> result) {
  if (!result) give_up(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double median(std::vector<double> values);

// The first NVIDIA GPU. Where there is none, it says so and ends the program with kSkipped.
struct GpuMachine {
  Driver& driver;
  int index;
  Arch arch;
  CudaTimer timer;

  static GpuMachine open(Runtime& runtime);
  // GB/s of a copy in device memory, bytes read and bytes written.
  double copy_gbps() const;
};

// The script beside the bench that measures what others have for the same cases.
void run_peers(const char* script, Format format);

}  // namespace kiln::bench
