// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_files.h"

#include <fmt/format.h>

#include "jit/base/elf.h"
#include "jit/comgr_api.h"
#include "jit/toolchain_record.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHowToGet =
    "install Debian's libamdhip64-5 (gfx900 to gfx1036), or AMD's ROCm 5 to 7, and set "
    "KILN_HIPRTC_LIBRARY and KILN_COMGR_LIBRARY if they lie in folders of their own";

LibraryQuery make_query(const char* what, const CompilerSettings& settings) {
  LibraryQuery query;
  query.what = what;
  query.how_to_get = kHowToGet;
  for (const fs::path& folder : settings.rocm_folders) query.folders.push_back(folder / "lib");
  return query;
}

LibraryQuery hiprtc_query(const CompilerSettings& settings) {
  LibraryQuery query = make_query("hipRTC", settings);
  query.sonames = {"libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so.5", "libamdhip64.so.5"};
  query.override_path = settings.hiprtc_library;
  query.override_variable = "KILN_HIPRTC_LIBRARY";
  return query;
}

// hipRTC either links comgr or opens it by its soname; it is installed beside hipRTC.
Result<LibraryQuery> comgr_query(const CompilerSettings& settings, const fs::path& hiprtc) {
  LibraryQuery query = make_query("comgr, which hipRTC compiles with,", settings);
  query.sonames.assign(std::begin(kComgrSonames), std::end(kComgrSonames));
  KILN_TRY_ASSIGN(const ElfDependencies dependencies, library_dependencies(hiprtc));
  for (const std::string& soname : dependencies.needed) {
    if (soname.starts_with("libamd_comgr")) query.sonames = {soname};
  }
  query.override_path = settings.comgr_library;
  query.override_variable = "KILN_COMGR_LIBRARY";
  query.near_folders = dependencies.run_path;
  query.near_folders.push_back(hiprtc.parent_path());
  return query;
}

}  // namespace

// -nostdinc: the headers of this machine are no part of the key. -fuse-cuid=none: else the names of
// static variables hold a hash of a temporary folder's name.
std::vector<std::string> hiprtc_options() {
  return {"-O3", "-nostdinc", "-fuse-cuid=none"};
}

Result<HiprtcFiles> find_hiprtc_files(const CompilerSettings& settings,
                                      std::vector<LibraryAttempt>* attempts) {
  HiprtcFiles files;
  KILN_TRY_ASSIGN(files.library, find_library(hiprtc_query(settings), attempts));
  files.builtins = find_beside(files.library.path, "libhiprtc-builtins.so");
  KILN_TRY_ASSIGN(const LibraryQuery query, comgr_query(settings, files.library.path));
  KILN_TRY_ASSIGN(files.comgr, find_library(query, attempts));
  // Debian's comgr links LLVM, AMD's has it inside.
  KILN_TRY_ASSIGN(files.llvm, find_needed(files.comgr.path, {"libLLVM", "libclang"}, kHowToGet));
  Record& record = files.toolchain;
  record.add("backend", "hiprtc");
  KILN_TRY(add_library(record, files.library.path));
  for (const fs::path& builtins : files.builtins) KILN_TRY(add_library(record, builtins));
  KILN_TRY(add_library(record, files.comgr.path));
  for (const fs::path& library : files.llvm) KILN_TRY(add_library(record, library));
  record.add("options", fmt::format("{}", fmt::join(hiprtc_options(), " ")));
  record.add_all("environment", settings.hiprtc_environment);
  return files;
}

}  // namespace kiln
