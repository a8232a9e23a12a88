// SPDX-License-Identifier: Apache-2.0
// The part of comgr's C interface that Kiln calls: comgr is the compiler below hipRTC, and the one
// that knows which archs hipRTC can be asked for. A test compares it with <amd_comgr.h>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "jit/base/shared_library.h"

namespace kiln {

// Best first.
inline constexpr const char* kComgrSonames[] = {"libamd_comgr.so.3", "libamd_comgr.so.2"};

enum ComgrStatus { kComgrSuccess = 0 };
struct ComgrMetadata {
  std::uint64_t handle;
};

// X(name, parameters)
#define KILN_COMGR_REQUIRED(X)                                                   \
  X(amd_comgr_get_isa_count, (std::size_t * count))                              \
  X(amd_comgr_get_isa_name, (std::size_t index, const char** isa_name))          \
  X(amd_comgr_get_isa_metadata, (const char* isa_name, ComgrMetadata* metadata)) \
  X(amd_comgr_destroy_metadata, (ComgrMetadata metadata))

struct ComgrApi {
#define KILN_COMGR_DECLARE(name, parameters) ComgrStatus(*name) parameters = nullptr;
  KILN_COMGR_REQUIRED(KILN_COMGR_DECLARE)
#undef KILN_COMGR_DECLARE
  // Optional: missing, the version is unknown.
  void (*amd_comgr_get_version)(std::size_t* major, std::size_t* minor) = nullptr;

  // Errors: unavailable, naming the required function that `library` lacks.
  static Result<ComgrApi> load(const SharedLibrary& library);

  // "2.4", or "of unknown version"
  std::string version() const;
  // The processors that comgr lists: "gfx900", "gfx90a", ...
  // Errors: unavailable, when it lists none.
  Result<std::vector<std::string>> processors() const;
  // Whether comgr takes this processor with these features ("gfx90a:xnack-"). Ask for listed
  // processors only.
  bool accepts(const std::string& target_id) const;
};

// The files that the names in kComgrSonames stand for in this process right now.
std::vector<std::filesystem::path> loaded_comgr_libraries();

}  // namespace kiln
