// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu_check/cuda_calls.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kiln::gpu_check {
namespace {

constexpr int kCaptureThreadLocal = 1;
constexpr unsigned kEventDefault = 0;

}  // namespace

Result<void> CudaCalls::check(const char* call, int status) {
  if (status == 0) return {};
  return fail(ErrorCode::driver_failed, fmt::format("{} answered {}", call, status));
}

Result<CudaCalls> CudaCalls::open(const std::optional<std::filesystem::path>& library) {
  void* handle = dlopen(library ? library->c_str() : "libcuda.so.1", RTLD_NOW | RTLD_NODELETE);
  if (!handle) return fail(ErrorCode::unavailable, dlerror());
  CudaCalls calls;
  std::string missing;
#define GPU_CHECK_LOAD(name, parameters)                                  \
  calls.name = reinterpret_cast<int(*) parameters>(dlsym(handle, #name)); \
  if (!calls.name) missing = #name;
  GPU_CHECK_CALLS(GPU_CHECK_LOAD)
#undef GPU_CHECK_LOAD
  if (!missing.empty()) {
    return fail(ErrorCode::unavailable, fmt::format("the driver library has no {}", missing));
  }
  void* context = nullptr;
  KILN_TRY(check("cuDevicePrimaryCtxRetain", calls.cuDevicePrimaryCtxRetain(&context, 0)));
  KILN_TRY(check("cuCtxPushCurrent", calls.cuCtxPushCurrent_v2(context)));
  return calls;
}

Result<void*> CudaCalls::capture(void* stream, const std::function<Result<void>()>& launch) const {
  KILN_TRY(check("cuStreamBeginCapture", cuStreamBeginCapture_v2(stream, kCaptureThreadLocal)));
  const Result<void> launched = launch();
  void* graph = nullptr;
  const int ended = cuStreamEndCapture(stream, &graph);
  KILN_TRY(launched);
  KILN_TRY(check("cuStreamEndCapture", ended));
  void* exec = nullptr;
  const int made = cuGraphInstantiateWithFlags(&exec, graph, 0);
  cuGraphDestroy(graph);
  KILN_TRY(check("cuGraphInstantiate", made));
  return exec;
}

Result<double> CudaCalls::time_ms(void* stream, int repeats,
                                  const std::function<Result<void>()>& launch) const {
  void* start = nullptr;
  void* end = nullptr;
  KILN_TRY(check("cuEventCreate", cuEventCreate(&start, kEventDefault)));
  KILN_TRY(check("cuEventCreate", cuEventCreate(&end, kEventDefault)));
  std::vector<float> times_ms;
  for (int i = 0; i <= repeats; ++i) {
    KILN_TRY(check("cuEventRecord", cuEventRecord(start, stream)));
    KILN_TRY(launch());
    KILN_TRY(check("cuEventRecord", cuEventRecord(end, stream)));
    KILN_TRY(check("cuEventSynchronize", cuEventSynchronize(end)));
    float time = 0;
    KILN_TRY(check("cuEventElapsedTime", cuEventElapsedTime(&time, start, end)));
    if (i > 0) times_ms.push_back(time);
  }
  cuEventDestroy_v2(start);
  cuEventDestroy_v2(end);
  std::sort(times_ms.begin(), times_ms.end());
  return times_ms[times_ms.size() / 2];
}

}  // namespace kiln::gpu_check
