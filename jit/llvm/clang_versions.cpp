// SPDX-License-Identifier: Apache-2.0
#include "jit/llvm/clang_versions.h"

#include <clang/Basic/DiagnosticIDs.h>

#include <utility>

namespace kiln {
namespace {

// Parses `arguments` with a diagnostics engine of its own, since the instance has none yet.
bool parse(clang::CompilerInvocation& invocation, const std::vector<const char*>& arguments,
           llvm::raw_ostream& log) {
#if LLVM_VERSION_MAJOR >= 21
  clang::DiagnosticOptions options;
  clang::TextDiagnosticPrinter printer(log, options);
  const auto ids = llvm::makeIntrusiveRefCnt<clang::DiagnosticIDs>();
#else
  const llvm::IntrusiveRefCntPtr<clang::DiagnosticOptions> options(new clang::DiagnosticOptions);
  clang::TextDiagnosticPrinter printer(log, options.get());
  const llvm::IntrusiveRefCntPtr<clang::DiagnosticIDs> ids(new clang::DiagnosticIDs);
#endif
  clang::DiagnosticsEngine diagnostics(ids, options, &printer, /*ShouldOwnClient=*/false);
  return clang::CompilerInvocation::CreateFromArgs(invocation, arguments, diagnostics);
}

}  // namespace

std::unique_ptr<clang::CompilerInstance> make_clang(const std::vector<const char*>& arguments,
                                                    const VirtualFiles& files,
                                                    llvm::raw_ostream& log) {
  auto invocation = std::make_shared<clang::CompilerInvocation>();
  if (!parse(*invocation, arguments, log)) return nullptr;
#if LLVM_VERSION_MAJOR >= 21
  auto clang = std::make_unique<clang::CompilerInstance>(std::move(invocation));
  auto printer = std::make_unique<clang::TextDiagnosticPrinter>(log, clang->getDiagnosticOpts());
#else
  auto clang = std::make_unique<clang::CompilerInstance>();
  clang->setInvocation(std::move(invocation));
  auto printer = std::make_unique<clang::TextDiagnosticPrinter>(log, &clang->getDiagnosticOpts());
#endif
#if LLVM_VERSION_MAJOR >= 22
  clang->setVirtualFileSystem(files);
  clang->createDiagnostics(printer.release(), /*ShouldOwnClient=*/true);
  clang->createFileManager();
#elif LLVM_VERSION_MAJOR >= 20
  clang->createDiagnostics(*files, printer.release(), /*ShouldOwnClient=*/true);
  clang->createFileManager(files);
#else
  clang->createDiagnostics(printer.release(), /*ShouldOwnClient=*/true);
  clang->createFileManager(files);
#endif
  clang->setVerboseOutputStream(std::make_unique<llvm::raw_null_ostream>());
  return clang;
}

void emit_module(clang::CompilerInstance& clang, llvm::Module& module, clang::BackendAction action,
                 const VirtualFiles& files, std::unique_ptr<llvm::raw_pwrite_stream> output) {
  const std::string layout = clang.getTarget().getDataLayoutString();
#if LLVM_VERSION_MAJOR >= 21
  clang::emitBackendOutput(clang, clang.getCodeGenOpts(), layout, &module, action, files,
                           std::move(output));
#elif LLVM_VERSION_MAJOR >= 20
  clang::emitBackendOutput(clang, layout, &module, action, files, std::move(output));
#else
  clang::EmitBackendOutput(clang.getDiagnostics(), clang.getHeaderSearchOpts(),
                           clang.getCodeGenOpts(), clang.getTargetOpts(), clang.getLangOpts(),
                           layout, &module, action, files, std::move(output));
#endif
}

}  // namespace kiln
