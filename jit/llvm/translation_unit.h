// SPDX-License-Identifier: Apache-2.0
// One kernel source on its way through clang: text, then a module whose only visible functions
// are the entry points, then machine code.
#pragma once

#include <llvm/IR/LLVMContext.h>

#include <memory>
#include <string>
#include <vector>

#include "jit/base/result.h"
#include "jit/llvm/clang_versions.h"
#include "jit/llvm/plugin_abi.h"

namespace kiln {

// One thread at a time; several objects on several threads are fine.
class TranslationUnit {
 public:
  // Errors: compile_failed with clang's diagnostics; unavailable for a processor or feature that
  // this LLVM does not know; invalid_argument for two files of one name and the like.
  static Result<std::unique_ptr<TranslationUnit>> parse(const KilnLlvmRequest& request);

  // Optimizes and writes the module: an object file, IR or assembly. Once only.
  // Errors: compile_failed, for what only the back end sees, such as wrong inline assembly.
  Result<std::string> emit(clang::BackendAction action);

  // The entry points' symbols, in the order of the name expressions.
  const std::vector<std::string>& symbols() const { return symbols_; }
  // Warnings so far.
  const std::string& log() const { return log_; }

 private:
  TranslationUnit() : log_stream_(log_) {}
  Result<void> read_source(const KilnLlvmRequest& request);

  std::string log_;
  llvm::raw_string_ostream log_stream_;
  VirtualFiles files_;
  llvm::LLVMContext context_;
  std::unique_ptr<clang::CompilerInstance> clang_;
  std::unique_ptr<llvm::Module> module_;
  std::vector<std::string> symbols_;
};

// Whether this LLVM has the processor and the features.
// Errors: unavailable, naming the one that it lacks.
Result<void> check_target(const KilnLlvmTarget& target);

}  // namespace kiln
