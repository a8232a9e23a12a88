// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_library.h"

#include <dlfcn.h>
#include <link.h>

namespace kiln {
namespace {

std::optional<std::filesystem::path> already_loaded(const std::string& soname) {
  void* handle = dlopen(soname.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (!handle) return std::nullopt;
  std::optional<std::filesystem::path> path;
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) path = map->l_name;
  dlclose(handle);
  return path;
}

}  // namespace

Result<SharedLibrary> open_gpu_library(const LibraryQuery& query) {
  if (!query.override_path) {
    for (const std::string& soname : query.sonames) {
      if (const auto path = already_loaded(soname)) return SharedLibrary::open(*path);
    }
  }
  KILN_TRY_ASSIGN(const LibraryLocation location, find_library(query));
  return SharedLibrary::open(location.path);
}

}  // namespace kiln
