// SPDX-License-Identifier: Apache-2.0
// The launch ABI of kernels that run on the host's own processor (arch cpu and x86-64-*).
// Read by the kernels (compiled with no system header) and by the CPU driver alike, so it holds
// plain C types only. A change here is a new kLaunchAbiVersion in jit/base/compile_input.h.
#pragma once

// What the host lends a kernel: kernels link against nothing, so what they need comes from here.
struct KilnCpuHost {
  unsigned size_bytes;  // of this struct as the host knows it
  unsigned workers;     // threads that share this launch
  unsigned worker;      // which of them this call runs on
  unsigned reserved;
  void* scratch;                     // private to the worker, 64-byte aligned, contents undefined
  unsigned long long scratch_bytes;  // kKilnCpuScratchBytes or more
};
constexpr unsigned long long kKilnCpuScratchBytes = 1ULL << 20;

// An entry point. Runs the work items first <= i < last of the launch's grid (x fastest);
// `params` points to the op's parameter struct. Calls run at the same time on several threads.
typedef void (*KilnCpuEntry)(const KilnCpuHost* host, const void* params, long long first,
                             long long last);
