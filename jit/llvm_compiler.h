// SPDX-License-Identifier: Apache-2.0
// clang and lld, for x86-64: C++ to a small shared object that needs no library; and for gfx*: HIP
// C++ to a code object, with no device library. They live in a plugin, libkiln_llvm.so, which is
// opened on first need.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "jit/compilers.h"
#include "jit/llvm/plugin_abi.h"

namespace kiln {

// Compiles run in parallel; only their links wait for each other.
class LlvmCompiler final : public Compiler {
 public:
  explicit LlvmCompiler(const CompilerSettings& settings);
  ~LlvmCompiler() override;

  std::string_view name() const override { return "llvm"; }
  Result<Record> toolchain() override;
  Answer can_compile(const Arch& arch) override;
  Result<Artifact> compile(const CompileInput& input) override;
  Result<std::string> emit(const CompileInput& input, std::string_view kind) override;
  Result<Description> describe(std::vector<LibraryAttempt>* attempts) override;

 private:
  struct Files {
    LibraryLocation plugin;
    std::vector<std::filesystem::path> libraries;  // libLLVM and libclang-cpp
    Record toolchain;
  };
  struct Loaded;
  struct Output;

  Result<Files> find_files(std::vector<LibraryAttempt>* attempts) const;
  // Found once, so that the key and the library that is opened later belong together.
  Result<Files> files();
  Result<const Loaded*> loaded();
  Result<Output> run(const CompileInput& input, KilnLlvmOutput output);

  const LibraryQuery query_;
  std::mutex mutex_;  // guards what follows; not held while compiling
  std::optional<Files> files_;
  std::unique_ptr<Loaded> loaded_;
};

}  // namespace kiln
