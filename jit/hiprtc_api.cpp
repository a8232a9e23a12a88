// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_api.h"

#include <fmt/format.h>

namespace kiln {

Result<HiprtcApi> HiprtcApi::load(const SharedLibrary& library) {
  HiprtcApi api;
#define KILN_HIPRTC_REQUIRE(name, parameters) KILN_TRY(library.require(#name, &api.name));
  KILN_HIPRTC_REQUIRED(KILN_HIPRTC_REQUIRE)
#undef KILN_HIPRTC_REQUIRE
#define KILN_HIPRTC_PROBE(name, parameters) \
  api.name = reinterpret_cast<decltype(api.name)>(library.find(#name));
  KILN_HIPRTC_OPTIONAL(KILN_HIPRTC_PROBE)
#undef KILN_HIPRTC_PROBE
  return api;
}

std::string HiprtcApi::version() const {
  int major = 0;
  int minor = 0;
  if (!hiprtcVersion || hiprtcVersion(&major, &minor) != kHiprtcSuccess || major < 1) {
    return "of unknown version";
  }
  return fmt::format("{}.{}", major, minor);
}

}  // namespace kiln
