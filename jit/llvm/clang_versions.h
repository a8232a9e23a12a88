// SPDX-License-Identifier: Apache-2.0
// What differs between clang 19 and 22, in this one place.
#pragma once

#include <clang/CodeGen/BackendUtil.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Frontend/TextDiagnosticPrinter.h>
#include <llvm/Config/llvm-config.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/VirtualFileSystem.h>

#include <memory>
#include <string>
#include <vector>

namespace kiln {

using VirtualFiles = llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem>;

// A compiler that sees `files` and no other, told `arguments`, which prints to `log`. Null, with
// the reason in `log`, when clang does not accept the arguments. `log` must outlive it.
std::unique_ptr<clang::CompilerInstance> make_clang(const std::vector<const char*>& arguments,
                                                    const VirtualFiles& files,
                                                    llvm::raw_ostream& log);

// Optimizes `module`, made by `clang`, and writes it.
void emit_module(clang::CompilerInstance& clang, llvm::Module& module, clang::BackendAction action,
                 const VirtualFiles& files, std::unique_ptr<llvm::raw_pwrite_stream> output);

}  // namespace kiln
