// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_api.h"

namespace kiln {

Result<HiprtcApi> HiprtcApi::load(const SharedLibrary& library) {
  HiprtcApi api;
#define KILN_HIPRTC_REQUIRE(name, parameters) KILN_TRY(library.require(#name, &api.name));
  KILN_HIPRTC_REQUIRED(KILN_HIPRTC_REQUIRE)
#undef KILN_HIPRTC_REQUIRE
  return api;
}

}  // namespace kiln
