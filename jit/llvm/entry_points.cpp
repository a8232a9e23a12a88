// SPDX-License-Identifier: Apache-2.0
#include "jit/llvm/entry_points.h"

#include <fmt/format.h>
#include <llvm/IR/GlobalVariable.h>
#include <llvm/Transforms/IPO/Internalize.h>

#include <iterator>
#include <set>

#include "jit/llvm/text_view.h"

namespace kiln {
namespace {

std::string global_name(std::size_t index) {
  return fmt::format("kiln_entry_point_{}", index);
}

Result<llvm::Function*> function_of(llvm::Module& module, std::size_t index,
                                    std::string_view expression) {
  const auto bad = [&](const char* why) {
    return fail(ErrorCode::compile_failed,
                fmt::format("the name expression '{}' {}", expression, why));
  };
  llvm::GlobalVariable* global = module.getNamedGlobal(global_name(index));
  if (!global || !global->hasInitializer()) return bad("was not compiled");
  auto* value = global->getInitializer()->stripPointerCastsAndAliases();
  auto* function = llvm::dyn_cast<llvm::Function>(value);
  global->eraseFromParent();
  if (!function) return bad("does not name a function");
  if (function->isDeclaration()) return bad("names a function that has no body");
  return function;
}

bool is_kernel(const llvm::Function& function) {
  return function.getCallingConv() == llvm::CallingConv::AMDGPU_KERNEL;
}

// A GPU's kernel is called by nobody who could put another one in its place.
void make_visible(llvm::Function& function) {
  function.setComdat(nullptr);
  function.setLinkage(llvm::GlobalValue::ExternalLinkage);
  function.setVisibility(is_kernel(function) ? llvm::GlobalValue::ProtectedVisibility
                                             : llvm::GlobalValue::DefaultVisibility);
  function.setDSOLocal(is_kernel(function));
}

}  // namespace

// #line: diagnostics name the expression instead of a line that its author did not write. The
// attribute turns what is no constant, and so no function, into a diagnostic.
std::string entry_point_text(const KilnTextList& expressions, KilnLlvmFamily family) {
  std::string text = "\n";
  const char* const side = family == kKilnLlvmAmdGpu ? "__attribute__((device)) " : "";
  for (std::size_t i = 0; i < expressions.count; ++i) {
    fmt::format_to(
        std::back_inserter(text),
        "#line 1 \"name expression {}\"\n"
        "extern \"C\" {{ {}__attribute__((require_constant_initialization)) auto* {} = ({}\n"
        ");}}\n",
        i + 1, side, global_name(i), view(expressions.items[i]));
  }
  return text;
}

Result<std::vector<std::string>> export_entry_points(llvm::Module& module,
                                                     const KilnTextList& expressions,
                                                     KilnLlvmFamily family) {
  std::vector<std::string> symbols;
  std::set<const llvm::GlobalValue*> visible;
  for (std::size_t i = 0; i < expressions.count; ++i) {
    KILN_TRY_ASSIGN(llvm::Function * function, function_of(module, i, view(expressions.items[i])));
    if (family == kKilnLlvmAmdGpu && !is_kernel(*function)) {
      return fail(ErrorCode::compile_failed,
                  fmt::format("the name expression '{}' does not name a __global__ function",
                              view(expressions.items[i])));
    }
    make_visible(*function);
    visible.insert(function);
    symbols.push_back(function->getName().str());
  }
  // Whatever no entry point reaches is dropped by the optimizer, and the rest inlined freely.
  llvm::internalizeModule(module,
                          [&](const llvm::GlobalValue& value) { return visible.contains(&value); });
  return symbols;
}

}  // namespace kiln
