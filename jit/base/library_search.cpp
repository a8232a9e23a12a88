// SPDX-License-Identifier: Apache-2.0
#include "jit/base/library_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "jit/base/elf.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

struct SearchFolder {
  fs::path folder;
  std::string found_by;
};

// The loader itself reads this variable, so it is the loader's path and not an option of Kiln's.
std::vector<SearchFolder> loader_folders() {
  std::vector<SearchFolder> folders;
  const char* value = std::getenv("LD_LIBRARY_PATH");
  std::string_view text = value ? value : "";
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(':'), text.size());
    if (end > 0) folders.push_back({fs::path(text.substr(0, end)), "LD_LIBRARY_PATH"});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return folders;
}

constexpr const char* kSystemFolders[] = {"/lib/x86_64-linux-gnu",
                                          "/usr/lib/x86_64-linux-gnu",
                                          "/lib/aarch64-linux-gnu",
                                          "/usr/lib/aarch64-linux-gnu",
                                          "/lib64",
                                          "/usr/lib64",
                                          "/lib",
                                          "/usr/lib"};

std::optional<fs::path> resolve(const fs::path& path) {
  std::error_code error;
  fs::path full = fs::canonical(path, error);
  if (error || !fs::is_regular_file(full, error)) return std::nullopt;
  return full;
}

void note(std::vector<LibraryAttempt>* attempts, std::string place, std::string outcome) {
  if (attempts) attempts->push_back({std::move(place), std::move(outcome)});
}

std::optional<LibraryLocation> find_in(const SearchFolder& folder, const LibraryQuery& query,
                                       std::vector<LibraryAttempt>* attempts) {
  for (const std::string& soname : query.sonames) {
    if (auto full = resolve(folder.folder / soname)) {
      note(attempts, folder.folder / soname, "found");
      return LibraryLocation{std::move(*full), folder.found_by};
    }
  }
  note(attempts, folder.folder.string(), "not there");
  return std::nullopt;
}

// lib/python3.11/site-packages, Debian's lib/python3/dist-packages, and what wheels add below.
std::optional<LibraryLocation> find_in_wheels(const fs::path& prefix, const LibraryQuery& query,
                                              std::vector<LibraryAttempt>* attempts) {
  std::vector<fs::path> packages;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(prefix / "lib", error)) {
    if (!entry.path().filename().string().starts_with("python3")) continue;
    for (const char* name : {"site-packages", "dist-packages"}) {
      if (fs::is_directory(entry.path() / name, error)) packages.push_back(entry.path() / name);
    }
  }
  if (packages.empty()) {
    note(attempts, (prefix / "lib/python3*/site-packages").string(), "not there");
  }
  std::sort(packages.rbegin(), packages.rend());
  for (const fs::path& folder : packages) {
    for (const std::string& wheel : query.wheel_folders) {
      const SearchFolder place{folder / wheel, (folder / wheel).string()};
      if (auto found = find_in(place, query, attempts)) return found;
    }
  }
  return std::nullopt;
}

Result<LibraryLocation> find_override(const LibraryQuery& query,
                                      std::vector<LibraryAttempt>* attempts) {
  if (auto full = resolve(*query.override_path)) {
    note(attempts, query.override_path->string(), "found");
    return LibraryLocation{std::move(*full), query.override_variable};
  }
  note(attempts, query.override_path->string(), "no such file");
  return fail(ErrorCode::unavailable,
              fmt::format("{}: {} names '{}', which is not a file; correct or unset it", query.what,
                          query.override_variable, query.override_path->string()));
}

}  // namespace

Result<LibraryLocation> find_library(const LibraryQuery& query,
                                     std::vector<LibraryAttempt>* attempts) {
  if (query.override_path) return find_override(query, attempts);
  for (const SearchFolder& folder : loader_folders()) {
    if (auto found = find_in(folder, query, attempts)) return std::move(*found);
  }
  for (const fs::path& folder : query.near_folders) {
    if (auto found = find_in({folder, folder.string()}, query, attempts)) return std::move(*found);
  }
  for (const std::string& soname : query.sonames) {
    const auto cached = find_in_loader_cache(soname);
    const auto full = cached ? resolve(*cached) : std::nullopt;
    note(attempts, "/etc/ld.so.cache: " + soname, full ? "found" : "not there");
    if (full) return LibraryLocation{*full, "the loader's cache"};
  }
  for (const char* folder : kSystemFolders) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) continue;
    if (auto found = find_in({folder, folder}, query, attempts)) return std::move(*found);
  }
  for (const fs::path& folder : query.folders) {
    if (auto found = find_in({folder, folder.string()}, query, attempts)) return std::move(*found);
  }
  for (const fs::path& prefix : query.python_prefixes) {
    if (auto found = find_in_wheels(prefix, query, attempts)) return std::move(*found);
  }
  std::string places = "on the loader's path";
  for (const auto* folders : {&query.near_folders, &query.folders}) {
    for (const fs::path& folder : *folders) places += ", in " + folder.string();
  }
  if (!query.python_prefixes.empty()) places += ", in Python's wheels";
  return fail(ErrorCode::unavailable,
              fmt::format("{} is not on this machine (looked for {} {}): {}", query.what,
                          fmt::join(query.sonames, ", "), places, query.how_to_get));
}

Result<std::vector<fs::path>> find_needed(const fs::path& file,
                                          const std::vector<std::string>& prefixes,
                                          const std::string& how_to_get) {
  KILN_TRY_ASSIGN(const ElfDependencies dependencies, library_dependencies(file));
  std::vector<fs::path> found;
  for (const std::string& soname : dependencies.needed) {
    const bool wanted = std::any_of(prefixes.begin(), prefixes.end(),
                                    [&](const auto& prefix) { return soname.starts_with(prefix); });
    if (!wanted) continue;
    LibraryQuery query;
    query.what = soname;
    query.sonames = {soname};
    query.near_folders = dependencies.run_path;
    query.how_to_get = how_to_get;
    KILN_TRY_ASSIGN(LibraryLocation library, find_library(query));
    found.push_back(std::move(library.path));
  }
  return found;
}

std::vector<fs::path> find_beside(const fs::path& library, std::string_view prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(library.parent_path(), error)) {
    if (!file.path().filename().string().starts_with(prefix)) continue;
    if (auto full = resolve(file.path())) found.push_back(std::move(*full));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

namespace {

// Empty when it cannot be read.
std::string read_file(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return {};
  std::string bytes(size, '\0');
  std::ifstream stream(path, std::ios::binary);
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(stream.gcount()));
  return bytes;
}

// The layout of glibc's cache file since 2.2, "glibc-ld.so.cache1.1" (dl-cache.h in glibc).
struct CacheHeader {
  char magic[20];
  std::uint32_t entry_count;
  std::uint32_t string_bytes;
  std::uint32_t unused[5];
};
struct CacheEntry {
  std::int32_t flags;
  std::uint32_t key;    // offset of the soname from the start of the header
  std::uint32_t value;  // offset of the path
  std::uint32_t os_version;
  std::uint64_t hwcap;
};
constexpr std::string_view kCacheMagic = "glibc-ld.so.cache1.1";
constexpr std::int32_t kLibraryTypeMask = 0xff00;
#if defined(__x86_64__)
constexpr std::int32_t kLibraryType = 0x0300;
#elif defined(__aarch64__)
constexpr std::int32_t kLibraryType = 0x0a00;
#else
constexpr std::int32_t kLibraryType = 0;
#endif

}  // namespace

std::optional<fs::path> find_in_loader_cache(const std::string& soname, const fs::path& cache) {
  const std::string file = read_file(cache);
  const std::size_t start = file.find(kCacheMagic);  // an older header may stand before it
  if (start == std::string::npos || file.size() - start < sizeof(CacheHeader)) return std::nullopt;
  CacheHeader header;
  std::memcpy(&header, file.data() + start, sizeof header);
  const std::size_t room = file.size() - start - sizeof header;
  if (header.entry_count > room / sizeof(CacheEntry)) return std::nullopt;
  for (std::uint32_t i = 0; i < header.entry_count; ++i) {
    CacheEntry entry;
    std::memcpy(&entry, file.data() + start + sizeof header + i * sizeof entry, sizeof entry);
    if ((entry.flags & kLibraryTypeMask) != kLibraryType) continue;
    if (entry.key >= file.size() - start || entry.value >= file.size() - start) continue;
    // std::string ends with a NUL, so a damaged offset cannot run past the end.
    if (soname == file.c_str() + start + entry.key)
      return fs::path(file.c_str() + start + entry.value);
  }
  return std::nullopt;
}

}  // namespace kiln
