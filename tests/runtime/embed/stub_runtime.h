// SPDX-License-Identifier: Apache-2.0
// A Runtime on a machine with two GPUs of the quiet stub driver and no compiler: its kernels come
// from a cache that is filled here, with code that the stub takes and no chip would.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "cache/store.h"
#include "kiln/kiln.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {

// Ends the process with the reason: neither a test nor a bench can go on without it.
template <class T>
T take(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::abort();
}

class StubRuntime {
 public:
  // `library`: the file of the stub driver.
  explicit StubRuntime(const char* library, EventCallback on_event = {}) : library_(library) {
    Options options;
    options.cache_folder = folder_.path() / "cache";
    options.drivers.cuda_library = library;
    options.compilers.nvrtc_library = "/no/such/libnvrtc.so";
    options.on_event = std::move(on_event);
    options.jobs = 2;
    runtime_ = take(Runtime::create(options));
  }

  Runtime& operator*() const { return *runtime_; }
  Runtime* operator->() const { return runtime_.get(); }
  Runtime& runtime() const { return *runtime_; }

  // Stores code of every implementation that can be built for `shape`; entry points are called
  // `symbol` in it.
  void store_kernels(const Op& op, const Shape& shape, const char* symbol = "kernel",
                     const char* only = nullptr) {
    const Arch arch = take(Arch::parse("sm_90a"));
    for (const Implementation& implementation : op.implementations) {
      if (!can_build(implementation, shape, arch)) continue;
      if (only && implementation.name != only) continue;
      const CompileInput input = take(make_input(op, implementation, shape, arch));
      Artifact artifact;
      artifact.format = CodeFormat::ptx;
      artifact.code = to_bytes(as_bytes("// stub"));
      for (const std::string& name : input.name_expressions) {
        artifact.entries.push_back({name, symbol, {}});
      }
      KeyRecord record{input.request(), {}};
      record.toolchain.add("compiler", "stub");
      const auto stored = take(runtime_->store())
                              ->put(record.key(), {record.joined().text(), input.label(),
                                                   to_unfilled_bytes(artifact.encode()), ""});
      if (!stored) std::abort();
    }
  }

  template <class Function>
  Function* control(const char* name) const {
    void* library = dlopen(library_, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) std::abort();
    return reinterpret_cast<Function*>(dlsym(library, name));
  }
  // Launches that the stub has seen from this thread.
  std::uint64_t launches() const { return control<std::uint64_t()>("quiet_launches")(); }
  void capture(bool on) const { control<void(int)>("quiet_capture")(on ? 1 : 0); }

 private:
  const char* library_;
  TempFolder folder_;
  std::unique_ptr<Runtime> runtime_;
};

// The shape of sample_calls() for an op.
inline Shape sample_shape(const Op& op) {
  std::vector<NameValue> given;
  if (op.name.starts_with("kda_")) given = {{"H", "8"}, {"HV", "8"}};
  if (op.name == "qk_rmsnorm") given = {{"Nq", "128"}, {"Nk", "128"}};
  if (op.name == "router_gemm") given = {{"N", "256"}, {"K", "2304"}};
  return take(parse_arguments(op, given)).shape;
}

}  // namespace kiln::test
