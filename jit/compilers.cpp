// SPDX-License-Identifier: Apache-2.0
#include "jit/compilers.h"

#include "jit/hiprtc_compiler.h"
#include "jit/llvm_compiler.h"
#include "jit/nvrtc_compiler.h"

namespace kiln {

Compilers::Compilers(CompilerSettings settings)
    : nvrtc_(std::make_unique<NvrtcCompiler>(settings)),
      hiprtc_(std::make_unique<HiprtcCompiler>(settings)),
      llvm_(std::make_unique<LlvmCompiler>(settings)) {}

Compilers::~Compilers() = default;

std::vector<Compiler*> Compilers::chain(const Arch& arch) const {
  switch (arch.family()) {
    case ArchFamily::nvidia:
      return {nvrtc_.get()};
    case ArchFamily::x86_64:
    case ArchFamily::simt:
      return {llvm_.get()};
    case ArchFamily::amd:
      return {hiprtc_.get(), llvm_.get()};
  }
  return {};
}

std::vector<Compiler*> Compilers::all() const {
  return {nvrtc_.get(), hiprtc_.get(), llvm_.get()};
}

}  // namespace kiln
