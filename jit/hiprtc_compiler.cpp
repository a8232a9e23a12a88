// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_compiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "jit/amd_metadata.h"
#include "jit/c_locale.h"
#include "jit/comgr_api.h"
#include "jit/compiler_log.h"
#include "jit/hiprtc_program.h"

namespace kiln {

namespace fs = std::filesystem;

struct LoadedHiprtc {
  SharedLibrary comgr_library;
  std::vector<SharedLibrary> builtins;
  SharedLibrary library;
  ComgrApi comgr;
  HiprtcApi api;
  std::string version;                  // "9.0 (comgr 2.4)"
  std::vector<std::string> processors;  // those of comgr's list
};

namespace {

// hipRTC reads a file of that name in the current folder rather than its own.
Result<void> check_current_folder() {
  std::error_code error;
  if (!fs::exists(kHiprtcOwnHeader, error)) return {};
  return fail(ErrorCode::unavailable,
              fmt::format("the current folder '{}' holds a '{}', which hipRTC would read in place "
                          "of its own; move it, or run in another folder",
                          fs::current_path(error).string(), kHiprtcOwnHeader));
}

// hipRTC opens comgr by its bare name, on the first program. That name must stand for the file in
// the key then, and not for one that somebody else opened.
Result<void> check_comgr(const HiprtcApi& api, const fs::path& ours) {
  const std::vector<fs::path> before = loaded_comgr_libraries();
  bool same = std::find(before.begin(), before.end(), ours) != before.end();
  if (same) {
    HiprtcProgramHandle probe = nullptr;
    if (api.hiprtcCreateProgram(&probe, "int probe;", "probe", 0, nullptr, nullptr) ==
        kHiprtcSuccess) {
      api.hiprtcDestroyProgram(&probe);
    }
    same = loaded_comgr_libraries() == before;
  }
  if (same) return {};
  std::string names;
  for (const fs::path& library : loaded_comgr_libraries()) names += " '" + library.string() + "'";
  return fail(ErrorCode::unavailable,
              fmt::format("hipRTC does not compile with '{}' in this process, which has loaded as "
                          "{}:{}; set KILN_COMGR_LIBRARY to the file that is loaded",
                          ours.string(), fmt::join(kComgrSonames, " or "), names));
}

Result<std::unique_ptr<LoadedHiprtc>> load(const HiprtcFiles& files) {
  const auto turn = hiprtc_turn();
  // hipRTC opens comgr and its builtins by bare name; opened here first, those names mean the files
  // in the key.
  KILN_TRY_ASSIGN(SharedLibrary comgr_library, SharedLibrary::open(files.comgr.path));
  std::vector<SharedLibrary> builtins;
  for (const fs::path& file : files.builtins) {
    KILN_TRY_ASSIGN(SharedLibrary opened, SharedLibrary::open(file));
    builtins.push_back(std::move(opened));
  }
  KILN_TRY_ASSIGN(SharedLibrary library, SharedLibrary::open(files.library.path));
  KILN_TRY_ASSIGN(const ComgrApi comgr, ComgrApi::load(comgr_library));
  KILN_TRY_ASSIGN(const HiprtcApi api, HiprtcApi::load(library));
  KILN_TRY(check_comgr(api, files.comgr.path));
  KILN_TRY_ASSIGN(std::vector<std::string> processors, comgr.processors());
  return std::make_unique<LoadedHiprtc>(LoadedHiprtc{
      std::move(comgr_library), std::move(builtins), std::move(library), comgr, api,
      fmt::format("{} (comgr {})", api.version(), comgr.version()), std::move(processors)});
}

Result<void> run(const LoadedHiprtc& hiprtc, const CompileInput& input, HiprtcProgram& program) {
  std::vector<std::string> options{"--offload-arch=" + input.arch.name()};
  for (std::string& option : hiprtc_options()) options.push_back(std::move(option));
  options.insert(options.end(), input.options.begin(), input.options.end());
  const HiprtcStatus status = program.compile(options);
  if (status == kHiprtcSuccess) return {};
  std::string log = program.log();
  const ErrorCode code = status == kHiprtcOutOfMemory               ? ErrorCode::out_of_memory
                         : status == kHiprtcBuiltinOperationFailure ? ErrorCode::unavailable
                                                                    : ErrorCode::compile_failed;
  std::string message =
      failure_message("hipRTC " + hiprtc.version, input.label(), log,
                      log.empty() ? fmt::format("status {}", static_cast<int>(status)) : "");
  return fail(code, std::move(message), std::move(log));
}

Result<void> check_family(const Arch& arch) {
  if (arch.family() == ArchFamily::amd) return {};
  return fail(ErrorCode::unavailable,
              fmt::format("hipRTC compiles for gfx*, not for {}", arch.name()));
}

}  // namespace

HiprtcCompiler::HiprtcCompiler(CompilerSettings settings) : settings_(std::move(settings)) {}

HiprtcCompiler::~HiprtcCompiler() = default;

Result<HiprtcFiles> HiprtcCompiler::files() {
  const std::lock_guard lock(mutex_);
  if (!files_) {
    KILN_TRY_ASSIGN(files_, find_hiprtc_files(settings_, nullptr));
  }
  return *files_;
}

Result<Record> HiprtcCompiler::toolchain() {
  KILN_TRY_ASSIGN(HiprtcFiles found, files());
  return std::move(found.toolchain);
}

Result<const LoadedHiprtc*> HiprtcCompiler::loaded() {
  KILN_TRY_ASSIGN(const HiprtcFiles found, files());
  const std::lock_guard lock(mutex_);
  if (loaded_) return loaded_.get();
  KILN_TRY_ASSIGN(std::unique_ptr<LoadedHiprtc> opened, load(found));
  KILN_TRY_ASSIGN(const HiprtcFiles now, find_hiprtc_files(settings_, nullptr));
  if (now.toolchain != found.toolchain) {
    return fail(ErrorCode::unavailable,
                fmt::format("'{}' or its comgr was replaced while this process ran; start it again",
                            found.library.path.string()));
  }
  loaded_ = std::move(opened);
  return loaded_.get();
}

Answer HiprtcCompiler::knows(const LoadedHiprtc& hiprtc, const Arch& arch) {
  const auto& listed = hiprtc.processors;
  if (std::find(listed.begin(), listed.end(), arch.base()) == listed.end()) {
    return Answer::no(fmt::format("hipRTC {} at '{}' does not know {}; it knows {}", hiprtc.version,
                                  hiprtc.library.path().string(), arch.name(),
                                  fmt::join(listed, ", ")));
  }
  if (arch.features().empty()) return Answer::yes();
  const auto no = [&] {
    return Answer::no(fmt::format("hipRTC {} at '{}' knows {}, but not {}", hiprtc.version,
                                  hiprtc.library.path().string(), arch.base(), arch.name()));
  };
  {
    const std::lock_guard lock(mutex_);
    const auto asked = asked_archs_.find(arch.name());
    if (asked != asked_archs_.end()) return asked->second ? Answer::yes() : no();
  }
  const bool accepted = [&] {
    const auto turn = hiprtc_turn();
    return hiprtc.comgr.accepts(arch.name());
  }();
  const std::lock_guard lock(mutex_);
  asked_archs_[arch.name()] = accepted;
  return accepted ? Answer::yes() : no();
}

Answer HiprtcCompiler::can_compile(const Arch& arch) {
  if (const auto family = check_family(arch); !family) return Answer::no(family.error().message);
  const CLocale locale;
  const auto hiprtc = loaded();
  if (!hiprtc) return Answer::no(hiprtc.error().message);
  return knows(**hiprtc, arch);
}

Result<Artifact> HiprtcCompiler::compile(const CompileInput& input) {
  KILN_TRY(input.check());
  KILN_TRY(check_family(input.arch));
  const CLocale locale;
  KILN_TRY_ASSIGN(const LoadedHiprtc* hiprtc, loaded());
  const Answer known = knows(*hiprtc, input.arch);
  if (!known && settings_.unlisted_archs == UnlistedArchs::refused) {
    return fail(ErrorCode::unavailable, known.reason());
  }
  KILN_TRY(check_current_folder());
  KILN_TRY_ASSIGN(HiprtcProgram program, HiprtcProgram::create(hiprtc->api, input));
  const auto start = std::chrono::steady_clock::now();  // without the wait for hipRTC's turn
  KILN_TRY(run(*hiprtc, input, program));

  Artifact artifact;
  artifact.compiler = name();
  artifact.compiler_version = hiprtc->version;
  artifact.log = program.log();
  artifact.format = CodeFormat::hsaco;
  KILN_TRY_ASSIGN(const std::string code, program.code());
  artifact.code = to_bytes(as_bytes(code));
  std::vector<std::string> symbols;
  for (const std::string& expression : input.name_expressions) {
    KILN_TRY_ASSIGN(std::string symbol, program.lowered_name(expression));
    symbols.push_back(std::move(symbol));
  }
  KILN_TRY_ASSIGN(artifact.entries,
                  amd_entry_points(artifact.code, input.name_expressions, symbols));
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  artifact.compile_time_ms = took.count();
  return artifact;
}

Result<std::string> HiprtcCompiler::emit(const CompileInput& input, std::string_view kind) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("hipRTC makes code for {} and no text on the way, so no '{}'; take the "
                          "code and disassemble it (llvm-objdump -d)",
                          input.arch.name(), kind));
}

Result<Compiler::Description> HiprtcCompiler::describe(std::vector<LibraryAttempt>* attempts) {
  Description description;
  auto found = find_hiprtc_files(settings_, &description.attempts);
  if (attempts) *attempts = description.attempts;
  KILN_TRY(found);
  const CLocale locale;
  KILN_TRY_ASSIGN(const LoadedHiprtc* hiprtc, loaded());
  description.version = hiprtc->version;
  description.found_by = found->library.found_by;
  description.libraries.push_back(hiprtc->library.path().string());
  for (const SharedLibrary& builtins : hiprtc->builtins) {
    description.libraries.push_back(builtins.path().string());
  }
  description.libraries.push_back(hiprtc->comgr_library.path().string());
  for (const fs::path& library : found->llvm) description.libraries.push_back(library.string());
  description.archs = hiprtc->processors;
  description.limitations.emplace_back("compiles one kernel at a time");
  return description;
}

}  // namespace kiln
