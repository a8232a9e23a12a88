// SPDX-License-Identifier: Apache-2.0
#include "jit/nvrtc_compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "jit/c_locale.h"
#include "jit/compiler_log.h"
#include "jit/nvrtc_api.h"
#include "jit/nvrtc_program.h"
#include "jit/ptx_places.h"
#include "jit/toolchain_record.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

// --no-source-include: else NVRTC searches the folder of the source's name under the current one.
// -v: registers, spills and shared memory are in no other place that all versions share.
constexpr const char* kOptions[] = {"--no-source-include", "--ptxas-options=-v"};
// NVRTC's own cache would be a second one below Kiln's; it also looks for the driver.
constexpr const char* kNoCache = "--no-cache";
constexpr std::array<int, 2> kFirstVersionWithCache = {12, 9};
// Tried, newest first, where a version does not list its archs.
constexpr std::array kArchsToTry = {121, 120, 110, 103, 101, 100, 90, 89, 87, 86, 80, 75};

LibraryQuery nvrtc_query(const CompilerSettings& settings) {
  LibraryQuery query;
  query.what = "NVRTC";
  query.sonames = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"};
  query.override_path = settings.nvrtc_library;
  query.override_variable = "KILN_NVRTC_LIBRARY";
  for (const fs::path& folder : settings.cuda_folders) {
    query.folders.push_back(folder / "lib64");
    query.folders.push_back(folder / "lib");
  }
  query.python_prefixes = settings.python_prefixes;
  query.wheel_folders = {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"};
  query.how_to_get =
      "install NVIDIA's CUDA toolkit, or its Python wheel nvidia-cuda-nvrtc, or Debian's "
      "libnvrtc11.2 (component non-free; up to sm_90), and set KILN_NVRTC_LIBRARY if it lies in a "
      "folder of its own";
  return query;
}

// Plain numbers, smallest first; empty when this version has no such function or gives nonsense.
std::vector<int> supported_archs(const NvrtcApi& api) {
  constexpr int kCountMax = 1000;
  int count = 0;
  if (!api.lists_archs() || api.nvrtcGetNumSupportedArchs(&count) != kNvrtcSuccess || count <= 0 ||
      count > kCountMax) {
    return {};
  }
  std::vector<int> archs(static_cast<std::size_t>(count));
  if (api.nvrtcGetSupportedArchs(archs.data()) != kNvrtcSuccess) return {};
  std::erase_if(archs, [](int arch) { return arch < 10 || arch > 999; });
  std::sort(archs.begin(), archs.end());
  return archs;
}

// Nothing when the call fails or what it says is no version of NVRTC.
std::optional<std::array<int, 2>> version_of(const NvrtcApi& api) {
  std::array<int, 2> version{};
  if (!api.nvrtcVersion || api.nvrtcVersion(&version[0], &version[1]) != kNvrtcSuccess)
    return std::nullopt;
  if (version[0] < 7 || version[0] > 99 || version[1] < 0 || version[1] > 99) return std::nullopt;
  return version;
}

}  // namespace

// What one compile is for.
struct NvrtcTarget {
  std::string option;  // "sm_90a", or "compute_120", which stops at PTX that the driver compiles
  CodeFormat format;
  std::string note;  // why it is not the machine code that was asked for
};

struct LoadedNvrtc {
  std::vector<SharedLibrary> builtins;
  SharedLibrary library;
  NvrtcApi api;
  std::optional<std::array<int, 2>> version;
  std::vector<int> archs;  // see supported_archs()

  std::string version_text() const {
    return version ? fmt::format("{}.{}", (*version)[0], (*version)[1]) : "of unknown version";
  }
  std::string name() const { return "NVRTC " + version_text(); }

  std::vector<std::string> options(const std::string& target,
                                   const std::vector<std::string>& own) const {
    std::vector<std::string> all{"--gpu-architecture=" + target};
    all.insert(all.end(), std::begin(kOptions), std::end(kOptions));
    if (version && *version >= kFirstVersionWithCache) all.emplace_back(kNoCache);
    all.insert(all.end(), own.begin(), own.end());
    return all;
  }

  std::string archs_text() const {
    return archs.empty() ? "a list that this version does not give"
                         : fmt::format("sm_{}", fmt::join(archs, ", sm_"));
  }
};

NvrtcCompiler::NvrtcCompiler(const CompilerSettings& settings)
    : query_(nvrtc_query(settings)), environment_(settings.nvrtc_environment) {}

NvrtcCompiler::~NvrtcCompiler() = default;

Result<NvrtcCompiler::Files> NvrtcCompiler::find_files(
    std::vector<LibraryAttempt>* attempts) const {
  Files files;
  KILN_TRY_ASSIGN(files.library, find_library(query_, attempts));
  files.builtins = find_beside(files.library.path, "libnvrtc-builtins.so");
  if (files.builtins.empty()) {
    return fail(ErrorCode::unavailable,
                fmt::format("NVRTC: '{}' has no libnvrtc-builtins.so.* beside it; {}",
                            files.library.path.string(), query_.how_to_get));
  }
  Record& record = files.toolchain;
  record.add("backend", "nvrtc");
  KILN_TRY(add_library(record, files.library.path));
  for (const fs::path& builtins : files.builtins) KILN_TRY(add_library(record, builtins));
  // Which version it is, and so whether the last one is given, follows from the library's identity.
  record.add("options", fmt::format("{} {} from {}.{}", fmt::join(kOptions, " "), kNoCache,
                                    kFirstVersionWithCache[0], kFirstVersionWithCache[1]));
  record.add_all("environment", environment_);
  return files;
}

Result<NvrtcCompiler::Files> NvrtcCompiler::files() {
  const std::lock_guard lock(mutex_);
  if (!files_) {
    KILN_TRY_ASSIGN(files_, find_files(nullptr));
  }
  return *files_;
}

Result<Record> NvrtcCompiler::toolchain() {
  KILN_TRY_ASSIGN(Files found, files());
  return std::move(found.toolchain);
}

Result<const LoadedNvrtc*> NvrtcCompiler::loaded() {
  KILN_TRY_ASSIGN(const Files found, files());
  const std::lock_guard lock(mutex_);
  if (loaded_) return loaded_.get();
  std::vector<SharedLibrary> builtins;
  // NVRTC opens its builtins by bare name; opened here first, that name means the file in the key.
  for (const fs::path& file : found.builtins) {
    KILN_TRY_ASSIGN(SharedLibrary library, SharedLibrary::open(file));
    builtins.push_back(std::move(library));
  }
  KILN_TRY_ASSIGN(SharedLibrary library, SharedLibrary::open(found.library.path));
  KILN_TRY_ASSIGN(NvrtcApi api, NvrtcApi::load(library));
  auto opened = std::make_unique<LoadedNvrtc>(
      LoadedNvrtc{std::move(builtins), std::move(library), std::move(api), {}, {}});
  opened->version = version_of(opened->api);
  opened->archs = supported_archs(opened->api);
  KILN_TRY_ASSIGN(const Files now, find_files(nullptr));
  if (now.toolchain != found.toolchain) {
    return fail(ErrorCode::unavailable,
                fmt::format("'{}' was replaced while this process ran; start it again",
                            found.library.path.string()));
  }
  loaded_ = std::move(opened);
  return loaded_.get();
}

// The list has plain numbers; whether it knows sm_90a or sm_100f shows only on trying.
bool NvrtcCompiler::knows(const LoadedNvrtc& nvrtc, const std::string& arch_name) {
  const auto arch = Arch::parse(arch_name);
  if (!arch) return false;
  const bool listed = std::binary_search(nvrtc.archs.begin(), nvrtc.archs.end(), arch->sm());
  if (!nvrtc.archs.empty() && !listed) return false;
  if (listed && std::isdigit(static_cast<unsigned char>(arch_name.back()))) return true;
  {
    const std::lock_guard lock(mutex_);
    const auto tried = tried_archs_.find(arch_name);
    if (tried != tried_archs_.end()) return tried->second;
  }
  const CompileInput probe{"probe", "probe", {}, *arch, {"probe", "__global__ void f(){}"},
                           {},      {"f"},   {}};
  auto program = NvrtcProgram::create(nvrtc.api, probe);
  const std::string target = (nvrtc.api.makes_cubin() ? "sm_" : "compute_") + arch_name.substr(3);
  const bool known = program && program->compile(nvrtc.options(target, {})) == kNvrtcSuccess;
  const std::lock_guard lock(mutex_);
  tried_archs_[arch_name] = known;
  return known;
}

Result<NvrtcTarget> NvrtcCompiler::target_for(const LoadedNvrtc& nvrtc, const Arch& arch) {
  const std::string number = arch.name().substr(3);
  if (knows(nvrtc, arch.name())) {
    if (nvrtc.api.makes_cubin()) return NvrtcTarget{"sm_" + number, CodeFormat::cubin, {}};
    return NvrtcTarget{
        "compute_" + number, CodeFormat::ptx,
        fmt::format("{} makes no machine code: PTX, which the driver compiles", nvrtc.name())};
  }
  std::vector<int> candidates(nvrtc.archs.rbegin(), nvrtc.archs.rend());
  if (candidates.empty()) candidates.assign(kArchsToTry.begin(), kArchsToTry.end());
  for (const int older : candidates) {
    if (older > arch.sm() || !knows(nvrtc, fmt::format("sm_{}", older))) continue;
    return NvrtcTarget{fmt::format("compute_{}", older), CodeFormat::ptx,
                       fmt::format("{} does not know {}: PTX for sm_{}, which the driver compiles",
                                   nvrtc.name(), arch.name(), older)};
  }
  return fail(ErrorCode::unavailable,
              fmt::format("{} at '{}' does not know {}; it knows {}", nvrtc.name(),
                          nvrtc.library.path().string(), arch.name(), nvrtc.archs_text()));
}

Answer NvrtcCompiler::can_compile(const Arch& arch) {
  if (arch.family() != ArchFamily::nvidia) {
    return Answer::no(fmt::format("NVRTC compiles for sm_*, not for {}", arch.name()));
  }
  const auto nvrtc = loaded();
  if (!nvrtc) return Answer::no(nvrtc.error().message);
  const CLocale locale;
  const auto target = target_for(**nvrtc, arch);
  return target ? Answer::yes(target->note) : Answer::no(target.error().message);
}

namespace {

// Compiles once more, with line information, which alone says where in the source a line of PTX
// comes from. NVRTC hands out the PTX that its assembler refused.
std::string log_with_places(const LoadedNvrtc& nvrtc, const NvrtcTarget& target,
                            const CompileInput& input, const std::string& log) {
  auto program = NvrtcProgram::create(nvrtc.api, input);
  if (!program) return log;
  std::vector<std::string> options = nvrtc.options(target.option, input.options);
  options.emplace_back("--generate-line-info");
  if (program->compile(options) == kNvrtcSuccess) return log;
  const auto ptx = program->ptx();
  return ptx ? place_ptx_errors(program->log(), *ptx, input) : log;
}

}  // namespace

Result<NvrtcProgram> NvrtcCompiler::run(const LoadedNvrtc& nvrtc, const NvrtcTarget& target,
                                        const CompileInput& input) {
  KILN_TRY_ASSIGN(NvrtcProgram program, NvrtcProgram::create(nvrtc.api, input));
  const NvrtcStatus status = program.compile(nvrtc.options(target.option, input.options));
  if (status == kNvrtcSuccess) return program;
  std::string log = program.log();
  if (names_ptx_lines(log)) log = log_with_places(nvrtc, target, input, log);
  const ErrorCode code = status == kNvrtcOutOfMemory               ? ErrorCode::out_of_memory
                         : status == kNvrtcBuiltinOperationFailure ? ErrorCode::unavailable
                                                                   : ErrorCode::compile_failed;
  std::string message =
      failure_message(nvrtc.name(), input.label(), log,
                      log.empty() ? fmt::format("status {}", static_cast<int>(status)) : "");
  return fail(code, std::move(message), std::move(log));
}

Result<Artifact> NvrtcCompiler::compile(const CompileInput& input) {
  KILN_TRY(input.check());
  if (input.arch.family() != ArchFamily::nvidia) {
    return fail(ErrorCode::unavailable, can_compile(input.arch).reason());
  }
  KILN_TRY_ASSIGN(const LoadedNvrtc* nvrtc, loaded());
  const auto start = std::chrono::steady_clock::now();
  const CLocale locale;
  KILN_TRY_ASSIGN(const NvrtcTarget target, target_for(*nvrtc, input.arch));
  KILN_TRY_ASSIGN(const NvrtcProgram program, run(*nvrtc, target, input));

  Artifact artifact;
  artifact.compiler = name();
  artifact.compiler_version = nvrtc->version_text();
  artifact.note = target.note;
  artifact.log = program.log();
  artifact.format = target.format;
  KILN_TRY_ASSIGN(const std::string code,
                  target.format == CodeFormat::cubin ? program.cubin() : program.ptx());
  artifact.code = to_bytes(as_bytes(code));
  const auto resources = parse_ptxas_log(artifact.log);
  for (const std::string& expression : input.name_expressions) {
    KILN_TRY_ASSIGN(std::string symbol, program.lowered_name(expression));
    const auto said = resources.find(symbol);
    artifact.entries.push_back({expression, std::move(symbol),
                                said == resources.end() ? KernelResources{} : said->second});
  }
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  artifact.compile_time_ms = took.count();
  return artifact;
}

Result<std::string> NvrtcCompiler::emit(const CompileInput& input, std::string_view kind) {
  if (kind != "ptx") {
    return fail(ErrorCode::invalid_argument,
                fmt::format("NVRTC emits ptx for {}, not '{}'", input.arch.name(), kind));
  }
  KILN_TRY(input.check());
  if (input.arch.family() != ArchFamily::nvidia) {
    return fail(ErrorCode::unavailable, can_compile(input.arch).reason());
  }
  KILN_TRY_ASSIGN(const LoadedNvrtc* nvrtc, loaded());
  const CLocale locale;
  KILN_TRY_ASSIGN(const NvrtcTarget target, target_for(*nvrtc, input.arch));
  KILN_TRY_ASSIGN(const NvrtcProgram program, run(*nvrtc, target, input));
  return program.ptx();
}

Result<Compiler::Description> NvrtcCompiler::describe(std::vector<LibraryAttempt>* attempts) {
  Description description;
  auto found = find_files(&description.attempts);
  if (attempts) *attempts = description.attempts;
  KILN_TRY(found);
  KILN_TRY_ASSIGN(const LoadedNvrtc* nvrtc, loaded());
  description.version = nvrtc->version_text();
  description.found_by = found->library.found_by;
  description.libraries.push_back(nvrtc->library.path().string());
  for (const SharedLibrary& builtins : nvrtc->builtins) {
    description.libraries.push_back(builtins.path().string());
  }
  for (const int arch : nvrtc->archs) description.archs.push_back(fmt::format("sm_{}", arch));
  for (const std::string& function : nvrtc->api.missing) {
    description.limitations.push_back("has no " + function);
  }
  if (!nvrtc->version) {
    description.limitations.emplace_back("does not say its version: its own cache may be on");
  }
  if (nvrtc->archs.empty()) {
    description.limitations.emplace_back("does not list its archs: each is tried out");
  }
  return description;
}

}  // namespace kiln
