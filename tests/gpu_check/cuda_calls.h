// SPDX-License-Identifier: Apache-2.0
// The driver calls that the checks need and Kiln does not: streams, graphs, events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "jit/base/result.h"

namespace kiln::gpu_check {

// X(name, parameters)
#define GPU_CHECK_CALLS(X)                                                             \
  X(cuDevicePrimaryCtxRetain, (void** context, int device))                            \
  X(cuCtxPushCurrent_v2, (void* context))                                              \
  X(cuStreamCreate, (void** stream, unsigned flags))                                   \
  X(cuStreamDestroy_v2, (void* stream))                                                \
  X(cuStreamSynchronize, (void* stream))                                               \
  X(cuStreamBeginCapture_v2, (void* stream, int mode))                                 \
  X(cuStreamEndCapture, (void* stream, void** graph))                                  \
  X(cuGraphInstantiateWithFlags, (void** exec, void* graph, unsigned long long flags)) \
  X(cuGraphLaunch, (void* exec, void* stream))                                         \
  X(cuGraphExecDestroy, (void* exec))                                                  \
  X(cuGraphDestroy, (void* graph))                                                     \
  X(cuEventCreate, (void** event, unsigned flags))                                     \
  X(cuEventRecord, (void* event, void* stream))                                        \
  X(cuEventSynchronize, (void* event))                                                 \
  X(cuEventElapsedTime, (float* ms, void* start, void* end))                           \
  X(cuEventDestroy_v2, (void* event))                                                  \
  X(cuMemcpyDtoDAsync_v2, (std::uint64_t to, std::uint64_t from, std::size_t bytes, void* stream))

struct CudaCalls {
#define GPU_CHECK_DECLARE(name, parameters) int(*name) parameters = nullptr;
  GPU_CHECK_CALLS(GPU_CHECK_DECLARE)
#undef GPU_CHECK_DECLARE

  // Device 0's context is current on this thread from then on. Errors: unavailable.
  static Result<CudaCalls> open(const std::optional<std::filesystem::path>& library);
  // `call`'s error, if its status is one.
  static Result<void> check(const char* call, int status);

  // A graph of what `launch` puts on `stream`. Errors: the driver's, or that of `launch`.
  Result<void*> capture(void* stream, const std::function<Result<void>()>& launch) const;
  // Median milliseconds that `launch` takes on `stream`, of `repeats` after one that is not
  // counted.
  Result<double> time_ms(void* stream, int repeats,
                         const std::function<Result<void>()>& launch) const;
};

}  // namespace kiln::gpu_check
