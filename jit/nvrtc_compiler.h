// SPDX-License-Identifier: Apache-2.0
// NVIDIA's runtime compiler: CUDA C++ to cubin, for sm_*. Needs neither a GPU nor a driver.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "jit/compilers.h"

namespace kiln {

struct LoadedNvrtc;
struct NvrtcTarget;
class NvrtcProgram;

// Compiles run in parallel: NVRTC is thread-safe.
class NvrtcCompiler final : public Compiler {
 public:
  explicit NvrtcCompiler(const CompilerSettings& settings);
  ~NvrtcCompiler() override;

  std::string_view name() const override { return "nvrtc"; }
  Result<Record> toolchain() override;
  Answer can_compile(const Arch& arch) override;
  Result<Artifact> compile(const CompileInput& input) override;
  Result<std::string> emit(const CompileInput& input, std::string_view kind) override;
  Result<Description> describe(std::vector<LibraryAttempt>* attempts) override;

 private:
  struct Files {
    LibraryLocation library;
    std::vector<std::filesystem::path> builtins;  // libnvrtc-builtins.so.* beside it
    Record toolchain;
  };

  Result<Files> find_files(std::vector<LibraryAttempt>* attempts) const;
  // Found once, so that the key and the library that is opened later belong together.
  Result<Files> files();
  Result<const LoadedNvrtc*> loaded();
  // Whether it makes code for just that arch.
  bool knows(const LoadedNvrtc& nvrtc, const std::string& arch_name);
  // What is compiled for when `arch` is asked: itself, or PTX for the newest that it may run.
  // Errors: unavailable, when it can run none that this NVRTC knows.
  Result<NvrtcTarget> target_for(const LoadedNvrtc& nvrtc, const Arch& arch);
  Result<NvrtcProgram> run(const LoadedNvrtc& nvrtc, const NvrtcTarget& target,
                           const CompileInput& input);

  const LibraryQuery query_;
  const Record environment_;
  std::mutex mutex_;  // guards what follows; not held while compiling
  std::optional<Files> files_;
  std::unique_ptr<LoadedNvrtc> loaded_;
  std::map<std::string, bool> tried_archs_;
};

}  // namespace kiln
