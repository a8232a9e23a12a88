// SPDX-License-Identifier: Apache-2.0
// The compilers of this build, and the chain of them for each arch.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "jit/base/export.h"
#include "jit/compiler.h"
#include "jit/worker/isolation.h"

namespace kiln {

// Where to look for vendor libraries; filled by Options::from_environment().
struct CompilerSettings {
  std::optional<std::filesystem::path> nvrtc_library;   // KILN_NVRTC_LIBRARY
  std::optional<std::filesystem::path> llvm_plugin;     // KILN_LLVM_LIBRARY
  std::optional<std::filesystem::path> hiprtc_library;  // KILN_HIPRTC_LIBRARY
  std::optional<std::filesystem::path> comgr_library;   // KILN_COMGR_LIBRARY
  std::vector<std::filesystem::path> cuda_folders;      // $CUDA_HOME, /usr/local/cuda
  std::vector<std::filesystem::path> rocm_folders;      // $ROCM_PATH, /opt/rocm
  std::vector<std::filesystem::path> python_prefixes;   // see LibraryQuery
  // Variables that change code generation, as found in the environment; part of the toolchain.
  Record nvrtc_environment;
  Record hiprtc_environment;

  Isolation isolation = Isolation::hiprtc;              // KILN_ISOLATION
  std::optional<std::filesystem::path> worker_program;  // KILN_WORKER
  int workers_max = 1;                                  // compiles at a time in workers
  WorkerLimits worker_limits;
  std::shared_ptr<CrashMemory> crashes;  // null: crashes are forgotten with this process
  UnlistedArchs unlisted_archs = UnlistedArchs::refused;  // `tried` in a worker alone
};

class WorkerPool;

class KILN_API Compilers {
 public:
  // Opens nothing and starts no process.
  explicit Compilers(CompilerSettings settings);
  ~Compilers();

  // Who may compile for `arch`, in the order to be asked. sm_*: NVRTC. gfx*: hipRTC, then LLVM.
  // cpu, x86-64-*, simt: LLVM.
  std::vector<Compiler*> chain(const Arch& arch) const;

  // All of them, for `doctor`.
  std::vector<Compiler*> all() const;

  // The workers that compile for this object; null with Isolation::off.
  const WorkerPool* workers() const { return workers_.get(); }

 private:
  std::unique_ptr<Compiler> isolated(std::unique_ptr<Compiler> compiler, std::string title,
                                     const CompilerSettings& settings) const;

  std::shared_ptr<WorkerPool> workers_;
  std::unique_ptr<Compiler> nvrtc_;
  std::unique_ptr<Compiler> hiprtc_;
  std::unique_ptr<Compiler> llvm_;
};

}  // namespace kiln
