// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_open_gate.h"

#include <pthread.h>

namespace kiln {
namespace {

constexpr int kClosed = 0;
int opening_in(int generation) {
  return 2 * generation + 1;
}
int open_in(int generation) {
  return 2 * generation + 2;
}
int generation_of(int state) {
  return (state - 1) / 2;
}

}  // namespace

int fork_generation() {
  static std::atomic<int> generation{0};
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });
  return generation.load(std::memory_order_relaxed);
}

GpuOpenGate::Turn GpuOpenGate::enter() {
  const int here = fork_generation();
  int state = state_.load(std::memory_order_acquire);
  while (true) {
    if (state == kClosed) {
      if (state_.compare_exchange_weak(state, opening_in(here), std::memory_order_acquire)) {
        return Turn::open_it;
      }
      continue;
    }
    if (generation_of(state) != here) return Turn::other_process;
    if (state == open_in(here)) return Turn::is_open;
    state_.wait(state, std::memory_order_acquire);
    state = state_.load(std::memory_order_acquire);
  }
}

void GpuOpenGate::open() {
  leave(open_in(fork_generation()));
}

void GpuOpenGate::close() {
  leave(kClosed);
}

void GpuOpenGate::leave(int state) {
  state_.store(state, std::memory_order_release);
  state_.notify_all();
}

}  // namespace kiln
