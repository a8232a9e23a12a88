// SPDX-License-Identifier: Apache-2.0
#include "jit/nvrtc_compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "jit/c_locale.h"
#include "jit/compiler_log.h"
#include "jit/nvrtc_api.h"
#include "jit/nvrtc_program.h"
#include "jit/toolchain_record.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

// --no-source-include: else NVRTC searches the folder of the source's name under the current one.
// -v: registers, spills and shared memory are in no other place that all versions share.
constexpr const char* kOptions[] = {"--no-source-include", "--ptxas-options=-v"};
// NVRTC's own cache would be a second one below Kiln's; it also looks for the driver.
constexpr const char* kNoCache = "--no-cache";
constexpr int kFirstVersionWithCache[] = {12, 9};

LibraryQuery make_query(const CompilerSettings& settings) {
  LibraryQuery query;
  query.what = "NVRTC";
  query.sonames = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"};
  query.override_path = settings.nvrtc_library;
  query.override_variable = "KILN_NVRTC_LIBRARY";
  for (const fs::path& folder : settings.cuda_folders) {
    query.folders.push_back(folder / "lib64");
    query.folders.push_back(folder / "lib");
  }
  query.how_to_get =
      "install NVIDIA's CUDA toolkit, or its Python wheel nvidia-cuda-nvrtc, or Debian's "
      "libnvrtc11.2 (component non-free; up to sm_90), and set KILN_NVRTC_LIBRARY if it lies in a "
      "folder of its own";
  return query;
}

// Every libnvrtc-builtins.so.* beside the library; names that only link to another count once.
std::vector<fs::path> find_builtins(const fs::path& library) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(library.parent_path(), error)) {
    if (!file.path().filename().string().starts_with("libnvrtc-builtins.so")) continue;
    fs::path real = fs::canonical(file.path(), error);
    if (!error) found.push_back(std::move(real));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

Result<void> read_supported_archs(const NvrtcApi& api, std::vector<int>& archs) {
  int count = 0;
  if (api.nvrtcGetNumSupportedArchs(&count) != kNvrtcSuccess || count <= 0) {
    return fail(ErrorCode::unavailable, "NVRTC does not say which archs it knows");
  }
  archs.resize(static_cast<std::size_t>(count));
  if (api.nvrtcGetSupportedArchs(archs.data()) != kNvrtcSuccess) {
    return fail(ErrorCode::unavailable, "NVRTC does not say which archs it knows");
  }
  return {};
}

std::string list_of(const std::vector<int>& archs) {
  return archs.empty() ? "a list that this version does not give"
                       : fmt::format("sm_{}", fmt::join(archs, ", sm_"));
}

}  // namespace

struct LoadedNvrtc {
  std::vector<SharedLibrary> builtins;
  SharedLibrary library;
  NvrtcApi api;
  int major = 0;
  int minor = 0;
  std::vector<int> archs;  // empty when this version does not list them

  std::string version() const { return fmt::format("{}.{}", major, minor); }

  std::vector<std::string> options(const CompileInput& input) const {
    // With no machine code to be had, `compute_` stops at PTX, which the driver compiles.
    const char* prefix = api.makes_cubin() ? "sm_" : "compute_";
    std::vector<std::string> all{"--gpu-architecture=" + (prefix + input.arch.name().substr(3))};
    all.insert(all.end(), std::begin(kOptions), std::end(kOptions));
    const int since[] = {major, minor};
    if (!std::lexicographical_compare(std::begin(since), std::end(since),
                                      std::begin(kFirstVersionWithCache),
                                      std::end(kFirstVersionWithCache))) {
      all.emplace_back(kNoCache);
    }
    all.insert(all.end(), input.options.begin(), input.options.end());
    return all;
  }
};

NvrtcCompiler::NvrtcCompiler(const CompilerSettings& settings)
    : query_(make_query(settings)), environment_(settings.nvrtc_environment) {}

NvrtcCompiler::~NvrtcCompiler() = default;

Result<NvrtcCompiler::Files> NvrtcCompiler::find_files(
    std::vector<LibraryAttempt>* attempts) const {
  Files files;
  KILN_TRY_ASSIGN(files.library, find_library(query_, attempts));
  files.builtins = find_builtins(files.library.path);
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
      LoadedNvrtc{std::move(builtins), std::move(library), std::move(api), 0, 0, {}});
  opened->api.nvrtcVersion(&opened->major, &opened->minor);
  if (opened->api.lists_archs()) KILN_TRY(read_supported_archs(opened->api, opened->archs));
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
Answer NvrtcCompiler::knows(const LoadedNvrtc& nvrtc, const Arch& arch) {
  const auto no = [&] {
    return Answer::no(fmt::format("NVRTC {} at '{}' does not know {}; it knows {}", nvrtc.version(),
                                  nvrtc.library.path().string(), arch.name(),
                                  list_of(nvrtc.archs)));
  };
  const bool listed =
      std::find(nvrtc.archs.begin(), nvrtc.archs.end(), arch.sm()) != nvrtc.archs.end();
  if (!nvrtc.archs.empty() && !listed) return no();
  if (listed && std::isdigit(static_cast<unsigned char>(arch.name().back()))) return Answer::yes();
  {
    const std::lock_guard lock(mutex_);
    const auto tried = tried_archs_.find(arch.name());
    if (tried != tried_archs_.end()) return tried->second ? Answer::yes() : no();
  }
  const CompileInput probe{"probe", "probe", {}, arch, {"probe", "__global__ void f(){}"},
                           {},      {"f"},   {}};
  auto program = NvrtcProgram::create(nvrtc.api, probe);
  const bool known = program && program->compile(nvrtc.options(probe)) == kNvrtcSuccess;
  const std::lock_guard lock(mutex_);
  tried_archs_[arch.name()] = known;
  return known ? Answer::yes() : no();
}

Answer NvrtcCompiler::can_compile(const Arch& arch) {
  if (arch.family() != ArchFamily::nvidia) {
    return Answer::no(fmt::format("NVRTC compiles for sm_*, not for {}", arch.name()));
  }
  const auto nvrtc = loaded();
  if (!nvrtc) return Answer::no(nvrtc.error().message);
  const CLocale locale;
  return knows(**nvrtc, arch);
}

Result<NvrtcProgram> NvrtcCompiler::run(const LoadedNvrtc& nvrtc, const CompileInput& input) {
  KILN_TRY_ASSIGN(NvrtcProgram program, NvrtcProgram::create(nvrtc.api, input));
  const NvrtcStatus status = program.compile(nvrtc.options(input));
  if (status == kNvrtcSuccess) return program;
  if (status == kNvrtcInvalidOption) {
    const Answer known = knows(nvrtc, input.arch);
    if (!known) return fail(ErrorCode::unavailable, known.reason());
  }
  std::string log = program.log();
  const ErrorCode code = status == kNvrtcOutOfMemory               ? ErrorCode::out_of_memory
                         : status == kNvrtcBuiltinOperationFailure ? ErrorCode::unavailable
                                                                   : ErrorCode::compile_failed;
  std::string message =
      fmt::format("NVRTC {} cannot compile {}: {}", nvrtc.version(), input.label(),
                  log.empty() ? fmt::format("status {}", int(status)) : first_error_line(log));
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
  KILN_TRY_ASSIGN(const NvrtcProgram program, run(*nvrtc, input));

  Artifact artifact;
  artifact.compiler = name();
  artifact.log = program.log();
  artifact.format = nvrtc->api.makes_cubin() ? CodeFormat::cubin : CodeFormat::ptx;
  KILN_TRY_ASSIGN(const std::string code,
                  nvrtc->api.makes_cubin() ? program.cubin() : program.ptx());
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
  KILN_TRY_ASSIGN(const NvrtcProgram program, run(*nvrtc, input));
  return program.ptx();
}

Result<Compiler::Description> NvrtcCompiler::describe(std::vector<LibraryAttempt>* attempts) {
  Description description;
  auto found = find_files(&description.attempts);
  if (attempts) *attempts = description.attempts;
  KILN_TRY(found);
  KILN_TRY_ASSIGN(const LoadedNvrtc* nvrtc, loaded());
  description.version = nvrtc->version();
  description.found_by = found->library.found_by;
  description.libraries.push_back(nvrtc->library.path().string());
  for (const SharedLibrary& builtins : nvrtc->builtins) {
    description.libraries.push_back(builtins.path().string());
  }
  for (const int arch : nvrtc->archs) description.archs.push_back(fmt::format("sm_{}", arch));
  for (const std::string& function : nvrtc->api.missing) {
    description.limitations.push_back("has no " + function);
  }
  return description;
}

}  // namespace kiln
