// SPDX-License-Identifier: Apache-2.0
#include "jit/llvm/translation_unit.h"

#include <clang/Basic/TargetID.h>
#include <clang/Basic/TargetInfo.h>
#include <clang/CodeGen/CodeGenAction.h>
#include <fmt/format.h>
#include <llvm/IR/DiagnosticHandler.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/DiagnosticPrinter.h>
#include <llvm/TargetParser/TargetParser.h>

#include <iterator>
#include <string_view>

#include "jit/llvm/cc1_options.h"
#include "jit/llvm/entry_points.h"
#include "jit/llvm/hip_prelude.h"
#include "jit/llvm/text_view.h"

namespace kiln {
namespace {

// Strings first, pointers to them later: a growing vector moves its strings.
std::vector<std::string> cc1_arguments(const KilnLlvmTarget& target) {
  std::vector<std::string> arguments(std::begin(kCc1Options), std::end(kCc1Options));
  if (target.family == kKilnLlvmAmdGpu) {
    arguments.insert(arguments.end(), std::begin(kCc1AmdGpuOptions), std::end(kCc1AmdGpuOptions));
    arguments.emplace_back(view(target.cpu).ends_with("-generic") ? kGenericCodeObjectOption
                                                                  : kCodeObjectOption);
  } else {
    arguments.insert(arguments.end(), std::begin(kCc1X86Options), std::end(kCc1X86Options));
  }
  arguments.insert(arguments.end(), {"-target-cpu", std::string(view(target.cpu))});
  for (std::size_t i = 0; i < target.features.count; ++i) {
    arguments.insert(arguments.end(),
                     {"-target-feature", std::string(view(target.features.items[i]))});
  }
  return arguments;
}

void add_debug_options(std::vector<std::string>& arguments, KilnLlvmDebug debug) {
  if (debug == kKilnLlvmLines) {
    arguments.insert(arguments.end(), std::begin(kCc1LineOptions), std::end(kCc1LineOptions));
  } else if (debug == kKilnLlvmSteps) {
    arguments.insert(arguments.end(), std::begin(kCc1StepOptions), std::end(kCc1StepOptions));
  }
}

std::vector<const char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

Result<void> add_file(llvm::vfs::InMemoryFileSystem& files, std::string_view name,
                      std::string_view text) {
  if (name.empty() || name.starts_with('/')) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a source is named '{}': give it a relative name", name));
  }
  if (files.addFile(std::string(name), 0, llvm::MemoryBuffer::getMemBufferCopy(text))) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("two sources are named '{}', or it is the folder of another one", name));
}

// "gfx942:sramecc+:xnack-": clang's own front door checks it, which -cc1 passes by.
Result<void> check_target_id(const KilnLlvmTarget& target) {
  std::string id(view(target.cpu));
  for (std::size_t i = 0; i < target.features.count; ++i) {
    const std::string_view feature = view(target.features.items[i]);
    id += fmt::format(":{}{}", feature.substr(1), feature.front());
  }
  const llvm::Triple triple("amdgcn-amd-amdhsa");
  llvm::StringMap<bool> features;
  if (clang::parseTargetID(triple, id, &features)) {
    // LLVM ends the process over an instruction that a chip lacks, such as a shuffle before gfx8.
    if (llvm::AMDGPU::getIsaVersion(view(target.cpu)).Major >= 9) return {};
    return fail(ErrorCode::unavailable,
                fmt::format("the kernels need gfx900 or later, and this is {}", id));
  }
  const bool knows_processor =
      clang::parseTargetID(triple, view(target.cpu), &features).has_value();
  return fail(
      ErrorCode::unavailable,
      fmt::format("LLVM {} does not know {}{}", LLVM_VERSION_STRING, id,
                  knows_processor ? fmt::format(", only {} without that", view(target.cpu)) : ""));
}

// The processor itself is clang's to refuse; features that it does not know it would ignore.
Result<void> check_features(clang::CompilerInstance& clang, const KilnLlvmTarget& target,
                            const std::string& log) {
  if (target.family == kKilnLlvmAmdGpu) KILN_TRY(check_target_id(target));
  if (!clang.createTarget()) {
    return fail(ErrorCode::unavailable,
                fmt::format("LLVM {} does not know the processor '{}'", LLVM_VERSION_STRING,
                            view(target.cpu)),
                log);
  }
  if (target.family == kKilnLlvmAmdGpu) return {};
  for (std::size_t i = 0; i < target.features.count; ++i) {
    const std::string_view feature = view(target.features.items[i]).substr(1);
    if (clang.getTarget().isValidFeatureName(feature)) continue;
    return fail(ErrorCode::unavailable, fmt::format("LLVM {} does not know the x86-64 feature '{}'",
                                                    LLVM_VERSION_STRING, feature));
  }
  return {};
}

// LLVM's own handler prints to stderr and ends the process on an error.
class BackEndDiagnostics final : public llvm::DiagnosticHandler {
 public:
  BackEndDiagnostics(const clang::SourceManager& sources, llvm::raw_ostream& log)
      : sources_(sources), log_(log) {}

  bool handleDiagnostics(const llvm::DiagnosticInfo& diagnostic) override {
    const bool is_error = diagnostic.getSeverity() == llvm::DS_Error;
    if (!is_error && diagnostic.getSeverity() != llvm::DS_Warning) return true;
    HasErrors = HasErrors || is_error;
    if (const auto* assembly = llvm::dyn_cast<llvm::DiagnosticInfoSrcMgr>(&diagnostic)) {
      print_place(assembly->getLocCookie());
    }
    log_ << (is_error ? "error: " : "warning: ");
    llvm::DiagnosticPrinterRawOStream printer(log_);
    diagnostic.print(printer);
    log_ << '\n';
    return true;
  }

 private:
  // Clang leaves the place of an asm statement in the module as its raw number.
  void print_place(std::uint64_t cookie) {
    const auto place = clang::SourceLocation::getFromRawEncoding(
        static_cast<clang::SourceLocation::UIntTy>(cookie));
    const clang::PresumedLoc presumed = sources_.getPresumedLoc(place);
    if (presumed.isInvalid()) return;
    log_ << presumed.getFilename() << ':' << presumed.getLine() << ':' << presumed.getColumn()
         << ": ";
  }

  const clang::SourceManager& sources_;
  llvm::raw_ostream& log_;
};

}  // namespace

Result<void> check_target(const KilnLlvmTarget& target) {
  std::string log;
  llvm::raw_string_ostream stream(log);
  const VirtualFiles files(new llvm::vfs::InMemoryFileSystem);
  auto arguments = cc1_arguments(target);
  arguments.emplace_back("probe");
  const auto clang = make_clang(pointers_to(arguments), files, stream);
  if (!clang) return fail(ErrorCode::internal, "clang refuses Kiln's own options", log);
  return check_features(*clang, target, log);
}

Result<std::unique_ptr<TranslationUnit>> TranslationUnit::parse(const KilnLlvmRequest& request) {
  std::unique_ptr<TranslationUnit> unit(new TranslationUnit);
  KILN_TRY(unit->read_source(request));
  // Optimization comes later, when only the entry points are left visible.
  unit->clang_->getCodeGenOpts().DisableLLVMPasses = true;
  clang::EmitLLVMOnlyAction action(&unit->context_);
  if (unit->clang_->ExecuteAction(action)) unit->module_ = action.takeModule();
  if (!unit->module_) {
    return fail(ErrorCode::compile_failed, "clang reports errors", unit->log_);
  }
  KILN_TRY_ASSIGN(unit->symbols_, export_entry_points(*unit->module_, request.name_expressions,
                                                      request.target.family));
  return unit;
}

Result<void> TranslationUnit::read_source(const KilnLlvmRequest& request) {
  auto* files = new llvm::vfs::InMemoryFileSystem;
  files_ = files;
  files->setCurrentWorkingDirectory("/");
  const std::string source = std::string(view(request.source.text)) +
                             entry_point_text(request.name_expressions, request.target.family);
  KILN_TRY(add_file(*files, view(request.source.name), source));
  for (std::size_t i = 0; i < request.header_count; ++i) {
    KILN_TRY(add_file(*files, view(request.headers[i].name), view(request.headers[i].text)));
  }
  auto arguments = cc1_arguments(request.target);
  add_debug_options(arguments, request.debug);
  if (request.target.family == kKilnLlvmAmdGpu) {
    KILN_TRY(add_file(*files, kHipPreludeName, kHipPrelude));
    arguments.insert(arguments.end(), {"-include", kHipPreludeName});
  }
  for (std::size_t i = 0; i < request.options.count; ++i) {
    arguments.emplace_back(view(request.options.items[i]));
  }
  arguments.insert(arguments.end(), {"-main-file-name", std::string(view(request.source.name)),
                                     std::string(view(request.source.name))});
  clang_ = make_clang(pointers_to(arguments), files_, log_stream_);
  if (!clang_) return fail(ErrorCode::compile_failed, "clang refuses an option", log_);
  return check_features(*clang_, request.target, log_);
}

Result<std::string> TranslationUnit::emit(clang::BackendAction action) {
  clang_->getCodeGenOpts().DisableLLVMPasses = false;
  auto handler = std::make_unique<BackEndDiagnostics>(clang_->getSourceManager(), log_stream_);
  const BackEndDiagnostics& diagnostics = *handler;
  context_.setDiagnosticHandler(std::move(handler));
  llvm::SmallString<0> bytes;
  emit_module(*clang_, *module_, action, files_,
              std::make_unique<llvm::raw_svector_ostream>(bytes));
  if (diagnostics.HasErrors || clang_->getDiagnostics().hasErrorOccurred()) {
    return fail(ErrorCode::compile_failed, "LLVM reports errors", log_);
  }
  return std::string(bytes);
}

}  // namespace kiln
