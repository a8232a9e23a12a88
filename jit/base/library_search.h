// SPDX-License-Identifier: Apache-2.0
// Where a vendor library is, found from files alone: nothing is loaded, and what is found is
// opened by its full path later, so that the library that was identified is the one that runs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/result.h"

namespace kiln {

// What to look for, and where besides the loader's own path.
struct LibraryQuery {
  std::string what;                                    // "NVRTC", for messages
  std::vector<std::string> sonames;                    // best first: "libnvrtc.so.13", ...
  std::optional<std::filesystem::path> override_path;  // KILN_<LIB>_LIBRARY; nothing else is tried
  std::string override_variable;                       // its name, for messages
  // Folders of the one who asks: searched where the loader searches a DT_RUNPATH, after
  // LD_LIBRARY_PATH and before its cache.
  std::vector<std::filesystem::path> near_folders;
  std::vector<std::filesystem::path> folders;  // vendor folders, searched after the loader's path
  // Python installations ("/usr/local", a virtual environment), and the folders below their
  // site-packages where a vendor's wheel puts its libraries; searched last.
  std::vector<std::filesystem::path> python_prefixes;
  std::vector<std::string> wheel_folders;  // "nvidia/cu13/lib"
  std::string how_to_get;                  // "install ...", ends the error message
};

struct LibraryLocation {
  std::filesystem::path path;  // absolute, symbolic links resolved
  std::string found_by;        // "KILN_NVRTC_LIBRARY", "the loader's path", "/usr/local/cuda/lib64"
};

// One place that was tried, for `jitctl doctor`.
struct LibraryAttempt {
  std::string place;
  std::string outcome;
};

// Order: the override alone if there is one, else LD_LIBRARY_PATH, `query.near_folders`, the
// loader's cache (/etc/ld.so.cache), the system folders, `query.folders`, then Python's wheels.
// Errors: unavailable, naming every place tried and `how_to_get`.
// `attempts`, if given, receives each place tried.
Result<LibraryLocation> find_library(const LibraryQuery& query,
                                     std::vector<LibraryAttempt>* attempts = nullptr);

// The libraries that `file` names as needed and whose soname begins with one of `prefixes`, where
// the loader will find them. Errors: those of find_library; unavailable, when `file` is no ELF.
Result<std::vector<std::filesystem::path>> find_needed(const std::filesystem::path& file,
                                                       const std::vector<std::string>& prefixes,
                                                       const std::string& how_to_get);

// The files beside `library` whose name begins with `prefix`, sorted, symbolic links resolved;
// names that only link to another count once.
std::vector<std::filesystem::path> find_beside(const std::filesystem::path& library,
                                               std::string_view prefix);

// Where the loader's cache says that `soname` is.
std::optional<std::filesystem::path> find_in_loader_cache(
    const std::string& soname, const std::filesystem::path& cache = "/etc/ld.so.cache");

}  // namespace kiln
