// SPDX-License-Identifier: Apache-2.0
// The exported side of libkiln_llvm.so.
#include <llvm/Config/llvm-config.h>
#include <llvm/Support/TargetSelect.h>

#include <exception>
#include <mutex>
#include <shared_mutex>

#include "jit/llvm/link.h"
#include "jit/llvm/text_view.h"
#include "jit/llvm/translation_unit.h"

namespace kiln {
namespace {

KilnLlvmStatus status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::compile_failed:
      return kKilnLlvmCompileFailed;
    case ErrorCode::unavailable:
      return kKilnLlvmUnavailable;
    case ErrorCode::invalid_argument:
      return kKilnLlvmInvalidArgument;
    default:
      return kKilnLlvmInternal;
  }
}

clang::BackendAction action_of(KilnLlvmOutput output) {
  switch (output) {
    case kKilnLlvmIr:
      return clang::Backend_EmitLL;
    case kKilnLlvmAssembly:
      return clang::Backend_EmitAssembly;
    case kKilnLlvmLinked:
      break;
  }
  return clang::Backend_EmitObj;
}

Result<void> compile_to(const KilnLlvmRequest& request, const KilnLlvmReply& reply) {
  std::shared_lock generating(llvm_globals());
  KILN_TRY_ASSIGN(const auto unit, TranslationUnit::parse(request));
  KILN_TRY_ASSIGN(std::string bytes, unit->emit(action_of(request.output)));
  generating.unlock();
  if (request.output == kKilnLlvmLinked) {
    KILN_TRY_ASSIGN(bytes, link_object(bytes, request.target.family, request.debug));
  }
  for (const std::string& symbol : unit->symbols()) reply.symbol(reply.context, text_of(symbol));
  reply.output(reply.context, text_of(bytes));
  reply.log(reply.context, text_of(unit->log()));
  return {};
}

void initialize_llvm() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
    LLVMInitializeAMDGPUTargetInfo();
    LLVMInitializeAMDGPUTarget();
    LLVMInitializeAMDGPUTargetMC();
    LLVMInitializeAMDGPUAsmPrinter();
    LLVMInitializeAMDGPUAsmParser();
  });
}

// No exception leaves the plugin: the host may be built with another library of them.
template <class Work>
KilnLlvmStatus answer(const KilnLlvmReply& reply, Work work) {
  Error error;
  try {
    initialize_llvm();
    const Result<void> done = work();
    if (done) return kKilnLlvmOk;
    error = done.error();
  } catch (const std::exception& exception) {
    error.message = exception.what();
  }
  reply.message(reply.context, text_of(error.message));
  reply.log(reply.context, text_of(error.log));
  return status_of(error.code);
}

KilnLlvmStatus supports(const KilnLlvmTarget* target, const KilnLlvmReply* reply) {
  return answer(*reply, [&] { return check_target(*target); });
}

KilnLlvmStatus compile(const KilnLlvmRequest* request, const KilnLlvmReply* reply) {
  return answer(*reply, [&] { return compile_to(*request, *reply); });
}

constexpr KilnLlvmPlugin kPlugin = {kKilnLlvmAbiVersion, LLVM_VERSION_STRING, &supports, &compile};

}  // namespace
}  // namespace kiln

extern "C" __attribute__((visibility("default"))) const KilnLlvmPlugin* kiln_llvm_plugin() {
  return &kiln::kPlugin;
}
