// SPDX-License-Identifier: Apache-2.0
#include "jit/comgr_api.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <string_view>

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTriple = "amdgcn-amd-amdhsa--";

}  // namespace

Result<ComgrApi> ComgrApi::load(const SharedLibrary& library) {
  ComgrApi api;
#define KILN_COMGR_REQUIRE(name, parameters) KILN_TRY(library.require(#name, &api.name));
  KILN_COMGR_REQUIRED(KILN_COMGR_REQUIRE)
#undef KILN_COMGR_REQUIRE
  api.amd_comgr_get_version =
      reinterpret_cast<decltype(api.amd_comgr_get_version)>(library.find("amd_comgr_get_version"));
  return api;
}

std::string ComgrApi::version() const {
  if (!amd_comgr_get_version) return "of unknown version";
  std::size_t major = 0;
  std::size_t minor = 0;
  amd_comgr_get_version(&major, &minor);
  return fmt::format("{}.{}", major, minor);
}

Result<std::vector<std::string>> ComgrApi::processors() const {
  std::vector<std::string> found;
  std::size_t count = 0;
  if (amd_comgr_get_isa_count(&count) != kComgrSuccess) count = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    if (amd_comgr_get_isa_name(i, &name) != kComgrSuccess || !name) continue;
    const std::string_view isa = name;
    if (isa.starts_with(kTriple)) found.emplace_back(isa.substr(kTriple.size()));
  }
  if (!found.empty()) return found;
  return fail(ErrorCode::unavailable,
              fmt::format("comgr {} does not say which archs it knows", version()));
}

bool ComgrApi::accepts(const std::string& target_id) const {
  ComgrMetadata metadata{};
  const std::string isa = std::string(kTriple) + target_id;
  if (amd_comgr_get_isa_metadata(isa.c_str(), &metadata) != kComgrSuccess) return false;
  amd_comgr_destroy_metadata(metadata);
  return true;
}

std::vector<fs::path> loaded_comgr_libraries() {
  std::vector<fs::path> found;
  for (const char* soname : kComgrSonames) {
    void* const handle = dlopen(soname, RTLD_NOW | RTLD_NOLOAD);
    if (!handle) continue;
    link_map* map = nullptr;
    std::error_code error;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0)
      found.push_back(fs::canonical(map->l_name, error));
    dlclose(handle);
  }
  return found;
}

}  // namespace kiln
