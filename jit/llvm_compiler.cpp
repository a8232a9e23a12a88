// SPDX-License-Identifier: Apache-2.0
#include "jit/llvm_compiler.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <chrono>

#include "jit/base/elf.h"
#include "jit/base/shared_library.h"
#include "jit/compiler_log.h"
#include "jit/llvm/cc1_options.h"
#include "jit/llvm/text_view.h"
#include "jit/toolchain_record.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHowToGet =
    "build Kiln where Debian's llvm-22-dev, libclang-22-dev and liblld-22-dev (or 19) are "
    "installed; at run time it needs libllvm22 and libclang-cpp22 (or 19)";
constexpr const char* kArchs[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4", "simt", "simt:warp64"};
// What the SIMT machine's kernels are compiled for: fused multiply-add in one instruction, as on a
// GPU, and the same code on every host.
constexpr const char* kSimtProcessor = "x86-64-v3";

// The folders that hold the plugin in a build tree and in an installation: that of the library
// this code is in, and lib beside the bin of the program.
std::vector<fs::path> plugin_folders() {
  std::vector<fs::path> folders;
  std::error_code error;
  Dl_info self{};
  static const char anchor = 0;
  if (dladdr(&anchor, &self) != 0 && self.dli_fname) {
    const fs::path library = fs::canonical(self.dli_fname, error);
    if (!error) folders.push_back(library.parent_path());
  }
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) folders.push_back(program.parent_path().parent_path() / "lib");
  return folders;
}

LibraryQuery make_query(const CompilerSettings& settings) {
  LibraryQuery query;
  query.what = "Kiln's LLVM plugin";
  query.sonames = {"libkiln_llvm.so"};
  query.override_path = settings.llvm_plugin;
  query.override_variable = "KILN_LLVM_LIBRARY";
  query.near_folders = plugin_folders();
  query.how_to_get = kHowToGet;
  return query;
}

// The libraries of LLVM that the plugin names, where the loader will find them.
Result<std::vector<fs::path>> llvm_libraries(const fs::path& plugin) {
  KILN_TRY_ASSIGN(const ElfDependencies dependencies, library_dependencies(plugin));
  std::vector<fs::path> found;
  for (const std::string& soname : dependencies.needed) {
    if (!soname.starts_with("libLLVM") && !soname.starts_with("libclang-cpp")) continue;
    LibraryQuery query;
    query.what = soname;
    query.sonames = {soname};
    query.near_folders = dependencies.run_path;
    query.how_to_get = kHowToGet;
    KILN_TRY_ASSIGN(LibraryLocation library, find_library(query));
    found.push_back(std::move(library.path));
  }
  return found;
}

ErrorCode code_of(KilnLlvmStatus status) {
  switch (status) {
    case kKilnLlvmCompileFailed:
      return ErrorCode::compile_failed;
    case kKilnLlvmUnavailable:
      return ErrorCode::unavailable;
    case kKilnLlvmInvalidArgument:
      return ErrorCode::invalid_argument;
    case kKilnLlvmOk:
    case kKilnLlvmInternal:
      break;
  }
  return ErrorCode::internal;
}

// "+avx512bf16" as the arch writes it, "avx512bf16" as the plugin takes it.
std::vector<KilnText> features_of(const Arch& arch) {
  std::vector<KilnText> features;
  if (arch.family() == ArchFamily::simt) return features;  // its features are Kiln's own
  for (const std::string_view feature : arch.features()) {
    features.push_back(text_of(feature.substr(1)));
  }
  return features;
}

KilnText processor_of(const Arch& arch) {
  return text_of(arch.family() == ArchFamily::simt ? kSimtProcessor : arch.base());
}

KilnLlvmDebug debug_of(const Arch& arch) {
  if (arch.family() != ArchFamily::simt) return kKilnLlvmNoDebug;
  return arch.has_feature(":debug") ? kKilnLlvmSteps : kKilnLlvmLines;
}

std::vector<KilnText> texts_of(const std::vector<std::string>& strings) {
  std::vector<KilnText> texts;
  for (const std::string& string : strings) texts.push_back(text_of(string));
  return texts;
}

KilnTextList list_of(const std::vector<KilnText>& texts) {
  return {texts.data(), texts.size()};
}

KilnNamedText named(const SourceText& source) {
  return {text_of(source.name), text_of(source.text)};
}

Result<void> check_family(const Arch& arch) {
  if (arch.family() == ArchFamily::x86_64 || arch.family() == ArchFamily::simt) return {};
  return fail(
      ErrorCode::unavailable,
      fmt::format("LLVM compiles for x86-64-v2, v3, v4 and simt here, not for {}", arch.name()));
}

}  // namespace

struct LlvmCompiler::Loaded {
  SharedLibrary library;
  const KilnLlvmPlugin* plugin;
};

// What the plugin handed out during one call.
struct LlvmCompiler::Output {
  Bytes bytes;
  std::vector<std::string> symbols;
  std::string log;
  std::string message;

  static Output& of(void* context) { return *static_cast<Output*>(context); }
  KilnLlvmReply reply() {
    return {
        this,
        [](void* context, KilnText text) { of(context).bytes = to_bytes(as_bytes(view(text))); },
        [](void* context, KilnText text) { of(context).symbols.emplace_back(view(text)); },
        [](void* context, KilnText text) { of(context).log = view(text); },
        [](void* context, KilnText text) { of(context).message = view(text); }};
  }
};

LlvmCompiler::LlvmCompiler(const CompilerSettings& settings) : query_(make_query(settings)) {}

LlvmCompiler::~LlvmCompiler() = default;

Result<LlvmCompiler::Files> LlvmCompiler::find_files(std::vector<LibraryAttempt>* attempts) const {
  Files files;
  KILN_TRY_ASSIGN(files.plugin, find_library(query_, attempts));
  KILN_TRY_ASSIGN(files.libraries, llvm_libraries(files.plugin.path));
  Record& record = files.toolchain;
  record.add("backend", "llvm");
  KILN_TRY(add_library(record, files.plugin.path));
  for (const fs::path& library : files.libraries) KILN_TRY(add_library(record, library));
  record.add("options", fmt::format("{}", fmt::join(kCc1Options, " ")));
  record.add("line_options", fmt::format("{}", fmt::join(kCc1LineOptions, " ")));
  record.add("step_options", fmt::format("{}", fmt::join(kCc1StepOptions, " ")));
  record.add("link_options", fmt::format("{}", fmt::join(kLinkOptions, " ")) + " " + kStripOption);
  return files;
}

Result<LlvmCompiler::Files> LlvmCompiler::files() {
  const std::lock_guard lock(mutex_);
  if (!files_) {
    KILN_TRY_ASSIGN(files_, find_files(nullptr));
  }
  return *files_;
}

Result<Record> LlvmCompiler::toolchain() {
  KILN_TRY_ASSIGN(Files found, files());
  return std::move(found.toolchain);
}

Result<const LlvmCompiler::Loaded*> LlvmCompiler::loaded() {
  KILN_TRY_ASSIGN(const Files found, files());
  const std::lock_guard lock(mutex_);
  if (loaded_) return loaded_.get();
  KILN_TRY_ASSIGN(SharedLibrary library, SharedLibrary::open(found.plugin.path));
  KilnLlvmEntry* entry = nullptr;
  KILN_TRY(library.require(kKilnLlvmEntry, &entry));
  const KilnLlvmPlugin* plugin = entry();
  if (plugin->abi_version != kKilnLlvmAbiVersion) {
    return fail(ErrorCode::unavailable,
                fmt::format("'{}' speaks version {} of the plugin interface, this Kiln version {}; "
                            "build both from one source",
                            found.plugin.path.string(), plugin->abi_version, kKilnLlvmAbiVersion));
  }
  KILN_TRY_ASSIGN(const Files now, find_files(nullptr));
  if (now.toolchain != found.toolchain) {
    return fail(ErrorCode::unavailable,
                fmt::format("'{}' or its LLVM was replaced while this process ran; start it again",
                            found.plugin.path.string()));
  }
  loaded_.reset(new Loaded{std::move(library), plugin});
  return loaded_.get();
}

Answer LlvmCompiler::can_compile(const Arch& arch) {
  if (const auto family = check_family(arch); !family) return Answer::no(family.error().message);
  const auto llvm = loaded();
  if (!llvm) return Answer::no(llvm.error().message);
  const auto features = features_of(arch);
  const KilnLlvmTarget target{processor_of(arch), list_of(features)};
  Output output;
  const KilnLlvmReply reply = output.reply();
  if ((*llvm)->plugin->supports(&target, &reply) == kKilnLlvmOk) return Answer::yes();
  return Answer::no(output.message);
}

Result<LlvmCompiler::Output> LlvmCompiler::run(const CompileInput& input, KilnLlvmOutput kind) {
  KILN_TRY(input.check());
  KILN_TRY(check_family(input.arch));
  KILN_TRY_ASSIGN(const Loaded* llvm, loaded());
  const auto features = features_of(input.arch);
  const auto expressions = texts_of(input.name_expressions);
  const auto options = texts_of(input.options);
  std::vector<KilnNamedText> headers;
  for (const SourceText& header : input.headers) headers.push_back(named(header));
  const KilnLlvmRequest request{{processor_of(input.arch), list_of(features)},
                                named(input.source),
                                headers.data(),
                                headers.size(),
                                list_of(expressions),
                                list_of(options),
                                kind,
                                debug_of(input.arch)};
  Output output;
  const KilnLlvmReply reply = output.reply();
  const KilnLlvmStatus status = llvm->plugin->compile(&request, &reply);
  if (status == kKilnLlvmOk) return output;
  std::string message =
      fmt::format("LLVM {} cannot compile {}: {}", llvm->plugin->llvm_version, input.label(),
                  output.log.empty() ? output.message : first_error_line(output.log));
  return fail(code_of(status), std::move(message), std::move(output.log));
}

Result<Artifact> LlvmCompiler::compile(const CompileInput& input) {
  const auto start = std::chrono::steady_clock::now();
  KILN_TRY_ASSIGN(Output output, run(input, kKilnLlvmSharedObject));
  Artifact artifact;
  artifact.compiler = name();
  artifact.format = CodeFormat::shared_object;
  artifact.code = std::move(output.bytes);
  artifact.log = std::move(output.log);
  for (std::size_t i = 0; i < input.name_expressions.size(); ++i) {
    artifact.entries.push_back({input.name_expressions[i], std::move(output.symbols.at(i)), {}});
  }
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  artifact.compile_time_ms = took.count();
  return artifact;
}

Result<std::string> LlvmCompiler::emit(const CompileInput& input, std::string_view kind) {
  if (kind != "llvm" && kind != "asm") {
    return fail(ErrorCode::invalid_argument,
                fmt::format("LLVM emits llvm and asm for {}, not '{}'", input.arch.name(), kind));
  }
  KILN_TRY_ASSIGN(const Output output, run(input, kind == "asm" ? kKilnLlvmAssembly : kKilnLlvmIr));
  return std::string(as_text(output.bytes));
}

Result<Compiler::Description> LlvmCompiler::describe(std::vector<LibraryAttempt>* attempts) {
  Description description;
  auto found = find_files(&description.attempts);
  if (attempts) *attempts = description.attempts;
  KILN_TRY(found);
  KILN_TRY_ASSIGN(const Loaded* llvm, loaded());
  description.version = llvm->plugin->llvm_version;
  description.found_by = found->plugin.found_by;
  description.libraries.push_back(llvm->library.path().string());
  for (const fs::path& library : found->libraries) {
    description.libraries.push_back(library.string());
  }
  for (const char* name : kArchs) {
    KILN_TRY_ASSIGN(const Arch arch, Arch::parse(name));
    if (can_compile(arch)) description.archs.emplace_back(name);
  }
  return description;
}

}  // namespace kiln
