// SPDX-License-Identifier: Apache-2.0
#include "jit/nvrtc_api.h"

namespace kiln {

Result<NvrtcApi> NvrtcApi::load(const SharedLibrary& library) {
  NvrtcApi api;
#define KILN_NVRTC_REQUIRE(name, parameters) KILN_TRY(library.require(#name, &api.name));
  KILN_NVRTC_REQUIRED(KILN_NVRTC_REQUIRE)
#undef KILN_NVRTC_REQUIRE
#define KILN_NVRTC_PROBE(name, parameters)                              \
  api.name = reinterpret_cast<decltype(api.name)>(library.find(#name)); \
  if (!api.name) api.missing.emplace_back(#name);
  KILN_NVRTC_OPTIONAL(KILN_NVRTC_PROBE)
#undef KILN_NVRTC_PROBE
  return api;
}

}  // namespace kiln
