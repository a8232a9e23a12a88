// SPDX-License-Identifier: Apache-2.0
#include "jit/llvm_compiler.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <chrono>

#include "jit/amd_metadata.h"
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
// Asked one by one for `doctor`: LLVM knows far more.
constexpr const char* kArchs[] = {"x86-64-v2",   "x86-64-v3", "x86-64-v4", "simt",
                                  "simt:warp64", "gfx908",    "gfx90a",    "gfx942",
                                  "gfx950",      "gfx1030",   "gfx1100",   "gfx1201"};
// What the SIMT machine's kernels are compiled for: fused multiply-add in one instruction, as on a
// GPU, and the same code on every host.
constexpr const char* kSimtProcessor = "x86-64-v3";

// The folders that hold the plugin in a build tree and in an installation: that of the library
// this code is in, that of the program (which may hold this code), and lib beside the latter.
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
  if (error) return folders;
  folders.push_back(program.parent_path());
  folders.push_back(program.parent_path().parent_path() / "lib");
  return folders;
}

LibraryQuery plugin_query(const CompilerSettings& settings) {
  LibraryQuery query;
  query.what = "Kiln's LLVM plugin";
  query.sonames = {"libkiln_llvm.so"};
  query.override_path = settings.llvm_plugin;
  query.override_variable = "KILN_LLVM_LIBRARY";
  query.near_folders = plugin_folders();
  query.how_to_get = kHowToGet;
  return query;
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

// An arch as the plugin takes it: "+avx512bf16" as it stands, ":xnack-" as "-xnack".
class Target {
 public:
  explicit Target(const Arch& arch)
      : family_(arch.family() == ArchFamily::amd ? kKilnLlvmAmdGpu : kKilnLlvmX86),
        cpu_(arch.family() == ArchFamily::simt ? kSimtProcessor : arch.base()) {
    if (arch.family() == ArchFamily::simt) return;  // its features are Kiln's own
    for (std::string_view feature : arch.features()) {
      std::string name(feature);
      if (feature.front() == ':') name = feature.back() + name.substr(1, name.size() - 2);
      features_.push_back(std::move(name));
    }
    for (const std::string& feature : features_) texts_.push_back(text_of(feature));
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  // Lives as long as this and the arch.
  KilnLlvmTarget get() const { return {family_, text_of(cpu_), {texts_.data(), texts_.size()}}; }

 private:
  KilnLlvmFamily family_;
  std::string_view cpu_;
  std::vector<std::string> features_;
  std::vector<KilnText> texts_;
};

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
  if (arch.family() != ArchFamily::nvidia) return {};
  return fail(ErrorCode::unavailable,
              fmt::format("LLVM compiles for gfx*, x86-64-v2, v3, v4 and simt here, not for {}",
                          arch.name()));
}

template <std::size_t count>
std::string words(const char* const (&options)[count]) {
  return fmt::format("{}", fmt::join(options, " "));
}

// All that is ever given, for whichever arch.
void add_options(Record& record) {
  record.add("options", words(kCc1Options));
  record.add("x86_options", words(kCc1X86Options));
  record.add("amdgpu_options", words(kCc1AmdGpuOptions) + " " + kCodeObjectOption + ", generic " +
                                   kGenericCodeObjectOption);
  record.add("line_options", words(kCc1LineOptions));
  record.add("step_options", words(kCc1StepOptions));
  record.add("x86_link_options", words(kLinkX86Options) + " " + kStripOption);
  record.add("amdgpu_link_options", words(kLinkAmdGpuOptions));
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
  std::string version;
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

LlvmCompiler::LlvmCompiler(const CompilerSettings& settings) : query_(plugin_query(settings)) {}

LlvmCompiler::~LlvmCompiler() = default;

Result<LlvmCompiler::Files> LlvmCompiler::find_files(std::vector<LibraryAttempt>* attempts) const {
  Files files;
  KILN_TRY_ASSIGN(files.plugin, find_library(query_, attempts));
  KILN_TRY_ASSIGN(files.libraries,
                  find_needed(files.plugin.path, {"libLLVM", "libclang-cpp"}, kHowToGet));
  Record& record = files.toolchain;
  record.add("backend", "llvm");
  KILN_TRY(add_library(record, files.plugin.path));
  for (const fs::path& library : files.libraries) KILN_TRY(add_library(record, library));
  add_options(record);
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
  const Target owner(arch);
  const KilnLlvmTarget target = owner.get();
  Output output;
  const KilnLlvmReply reply = output.reply();
  if ((*llvm)->plugin->supports(&target, &reply) == kKilnLlvmOk) return Answer::yes();
  return Answer::no(output.message);
}

Result<LlvmCompiler::Output> LlvmCompiler::run(const CompileInput& input, KilnLlvmOutput kind) {
  KILN_TRY(input.check());
  KILN_TRY(check_family(input.arch));
  KILN_TRY_ASSIGN(const Loaded* llvm, loaded());
  const Target target(input.arch);
  const auto expressions = texts_of(input.name_expressions);
  const auto options = texts_of(input.options);
  std::vector<KilnNamedText> headers;
  for (const SourceText& header : input.headers) headers.push_back(named(header));
  const KilnLlvmRequest request{target.get(),   named(input.source),  headers.data(),
                                headers.size(), list_of(expressions), list_of(options),
                                kind,           debug_of(input.arch)};
  Output output;
  const KilnLlvmReply reply = output.reply();
  const KilnLlvmStatus status = llvm->plugin->compile(&request, &reply);
  output.version = llvm->plugin->llvm_version;
  if (status == kKilnLlvmOk) return output;
  std::string message =
      failure_message("LLVM " + output.version, input.label(), output.log, output.message);
  return fail(code_of(status), std::move(message), std::move(output.log));
}

Result<Artifact> LlvmCompiler::compile(const CompileInput& input) {
  const auto start = std::chrono::steady_clock::now();
  KILN_TRY_ASSIGN(Output output, run(input, kKilnLlvmLinked));
  Artifact artifact;
  artifact.compiler = name();
  artifact.compiler_version = output.version;
  artifact.code = std::move(output.bytes);
  artifact.log = std::move(output.log);
  if (input.arch.family() == ArchFamily::amd) {
    artifact.format = CodeFormat::hsaco;
    KILN_TRY_ASSIGN(artifact.entries,
                    amd_entry_points(artifact.code, input.name_expressions, output.symbols));
  } else {
    artifact.format = CodeFormat::shared_object;
    for (std::size_t i = 0; i < input.name_expressions.size(); ++i) {
      artifact.entries.push_back({input.name_expressions[i], output.symbols.at(i), {}});
    }
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
