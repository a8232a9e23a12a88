// SPDX-License-Identifier: Apache-2.0
#include "bench/cuda_timer.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace kiln::bench {
namespace {

constexpr int kL2CacheBytes = 38;       // CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
constexpr unsigned kNonBlocking = 1;    // CU_STREAM_NON_BLOCKING
constexpr unsigned kCaptureThread = 1;  // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

}  // namespace

template <class... Arguments>
void CudaTimer::call(const char* name, Arguments... arguments) const {
  auto* const function = reinterpret_cast<int (*)(Arguments...)>(library_.find(name));
  const int status = function ? function(arguments...) : -1;
  if (status == 0) return;
  fmt::print(stderr, "bench: {} {}\n", name,
             function ? fmt::format("failed with status {}", status) : "is missing in libcuda");
  std::exit(1);
}

Result<CudaTimer> CudaTimer::open(int device) {
  KILN_TRY_ASSIGN(SharedLibrary library, SharedLibrary::open("libcuda.so.1"));
  CudaTimer timer(std::move(library));
  timer.call("cuInit", 0U);
  int handle = 0;
  void* context = nullptr;
  int l2_bytes = 0;
  char name[256] = {};
  timer.call("cuDeviceGet", &handle, device);
  timer.call("cuDeviceGetName", static_cast<char*>(name), int{sizeof name - 1}, handle);
  timer.call("cuDevicePrimaryCtxRetain", &context, handle);
  timer.call("cuCtxSetCurrent", context);
  timer.call("cuDeviceGetAttribute", &l2_bytes, kL2CacheBytes, handle);
  timer.call("cuStreamCreate", &timer.stream_, kNonBlocking);
  timer.call("cuEventCreate", &timer.first_, 0U);
  timer.call("cuEventCreate", &timer.last_, 0U);
  timer.l2_bytes_ = l2_bytes;
  timer.device_name_ = name;
  return timer;
}

double CudaTimer::time_us(const std::function<void()>& work) const {
  call("cuStreamSynchronize", stream_);
  call("cuEventRecord", first_, stream_);
  work();
  call("cuEventRecord", last_, stream_);
  call("cuEventSynchronize", last_);
  float time_ms = 0;
  call("cuEventElapsedTime", &time_ms, first_, last_);
  return time_ms * 1e3;
}

double CudaTimer::graph_time_us(const std::function<void()>& work, int replays) const {
  void* graph = nullptr;
  void* executable = nullptr;
  call("cuStreamBeginCapture_v2", stream_, kCaptureThread);
  work();
  call("cuStreamEndCapture", stream_, &graph);
  call("cuGraphInstantiateWithFlags", &executable, graph, 0ULL);
  call("cuGraphLaunch", executable, stream_);  // the first one uploads it
  const double time = time_us([&] {
    for (int i = 0; i < replays; ++i) call("cuGraphLaunch", executable, stream_);
  });
  call("cuGraphExecDestroy", executable);
  call("cuGraphDestroy", graph);
  return time;
}

void CudaTimer::copy(void* to, const void* from, std::size_t bytes) const {
  call("cuMemcpyDtoDAsync_v2", reinterpret_cast<std::uint64_t>(to),
       reinterpret_cast<std::uint64_t>(from), bytes, stream_);
}

}  // namespace kiln::bench
