// SPDX-License-Identifier: Apache-2.0
// What differs between the vendors' driver libraries: each function is one call, or the few that
// the other vendor does in one. Sequences, checks and messages are shared, in GpuSession and above.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "jit/base/answer.h"
#include "jit/base/arch.h"
#include "jit/base/artifact.h"
#include "jit/base/launch.h"
#include "runtime/drivers/gpu_status.h"

namespace kiln {

struct GpuModuleState;
struct GpuFunctionState;
struct GpuStreamState;
using GpuModuleHandle = GpuModuleState*;      // CUmodule, hipModule_t
using GpuFunctionHandle = GpuFunctionState*;  // CUfunction, hipFunction_t
using GpuStreamHandle = GpuStreamState*;      // CUstream, hipStream_t

// The constants of one vendor; most are words for messages.
struct GpuTraits {
  std::string_view name;              // "cuda"
  std::string_view title;             // "CUDA"
  std::string_view hardware;          // "NVIDIA GPU"
  std::string_view visible_variable;  // "CUDA_VISIBLE_DEVICES"
  std::string_view debugger;          // the vendor's tool that finds a broken kernel
  std::span<const CodeFormat> formats;
  int elf_machine = 0;  // e_machine of its code
};

struct GpuFunction {
  GpuFunctionHandle handle = nullptr;
  std::optional<std::size_t> params_bytes;  // of its one parameter; not every version says
};

struct GpuStatusText {
  std::string name;   // "CUDA_ERROR_INVALID_VALUE"
  std::string words;  // "invalid argument"
};

// Thread-safe once initialize() and every describe() have returned.
class GpuVendor {
 public:
  virtual ~GpuVendor() = default;

  virtual const GpuTraits& traits() const = 0;
  // Errors: unavailable, with the places searched or the function that is missing.
  virtual Result<void> open_library() = 0;
  virtual GpuReply initialize() = 0;
  virtual GpuReply count_devices(int* count) = 0;
  // Called once for each device, before it is entered.
  virtual GpuReply describe(int index, std::string* name, std::string* arch) = 0;
  virtual GpuStatusText text(GpuStatus status) const = 0;

  // Makes the device current on this thread; leave() gives back what was current before.
  virtual GpuReply enter(int index, int* previous) = 0;
  virtual void leave(int previous) = 0;
  // Gives back what enter() took for the life of the process.
  virtual void release_devices() = 0;

  // These work on the device that was entered.
  virtual GpuReply load(const Artifact& artifact, GpuModuleHandle* module, std::string* log) = 0;
  virtual GpuReply find(GpuModuleHandle module, const char* symbol, GpuFunction* function) = 0;
  // Sets what must be set, and loads what is loaded late, so that a launch inside a graph capture
  // does neither.
  virtual GpuReply prepare(int index, GpuFunction* function) = 0;
  virtual GpuReply unload(GpuModuleHandle module) = 0;

  virtual Answer can_cluster(const Arch& arch) const = 0;
  virtual bool can_start_early(const Arch& arch) const = 0;  // programmatic dependent launch
  // How many blocks of `dims` the device of this index holds at once; 0 where the library cannot
  // tell.
  virtual GpuReply resident_blocks(int index, const GpuFunction& function, const LaunchDims& dims,
                                   unsigned* blocks) = 0;
  // `dims` asks only for what the functions above allow.
  virtual GpuReply launch(const GpuFunction& function, const LaunchDims& dims, const void* params,
                          std::size_t params_bytes, GpuStreamHandle stream) = 0;

  virtual GpuReply allocate(std::size_t size_bytes, void** memory) = 0;
  virtual GpuReply release(void* memory) = 0;
  virtual GpuReply copy_to_device(void* device, const void* host, std::size_t bytes) = 0;
  virtual GpuReply copy_to_host(void* host, const void* device, std::size_t bytes) = 0;
  virtual GpuReply synchronize(GpuStreamHandle stream) = 0;
  virtual GpuReply is_capturing(GpuStreamHandle stream, bool* capturing) = 0;
};

}  // namespace kiln
