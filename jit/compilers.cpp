// SPDX-License-Identifier: Apache-2.0
#include "jit/compilers.h"

#include "jit/hiprtc_compiler.h"
#include "jit/llvm_compiler.h"
#include "jit/nvrtc_compiler.h"
#include "jit/worker/isolated_compiler.h"

namespace kiln {

Compilers::Compilers(CompilerSettings settings)
    : workers_(settings.isolation == Isolation::off ? nullptr
                                                    : std::make_shared<WorkerPool>(settings)),
      nvrtc_(isolated(std::make_unique<NvrtcCompiler>(settings), "NVRTC", settings)),
      hiprtc_(isolated(std::make_unique<HiprtcCompiler>(settings), "hipRTC", settings)),
      llvm_(isolated(std::make_unique<LlvmCompiler>(settings), "LLVM", settings)) {}

Compilers::~Compilers() = default;

std::unique_ptr<Compiler> Compilers::isolated(std::unique_ptr<Compiler> compiler, std::string title,
                                              const CompilerSettings& settings) const {
  const bool is_hiprtc = compiler->name() == "hiprtc";
  if (!workers_ || (settings.isolation == Isolation::hiprtc && !is_hiprtc)) return compiler;
  IsolatedCompiler::Traits traits{std::move(title), std::nullopt};
  if (is_hiprtc) traits.tries_unlisted = ArchFamily::amd;
  return std::make_unique<IsolatedCompiler>(std::move(compiler), std::move(traits), workers_,
                                            settings.crashes);
}

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
