// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/hip_api.h"

namespace kiln {

Result<HipApi> HipApi::load(const SharedLibrary& library) {
  HipApi api;
  KILN_HIP_REQUIRED(KILN_GPU_REQUIRE)
#define KILN_HIP_REQUIRE_TEXT(name) KILN_GPU_REQUIRE(name, )
  KILN_HIP_TEXTS(KILN_HIP_REQUIRE_TEXT)
#undef KILN_HIP_REQUIRE_TEXT
  KILN_HIP_OPTIONAL(KILN_GPU_PROBE)
  if (!api.hipGetDevicePropertiesR0600) {
    KILN_GPU_REQUIRE(hipGetDeviceProperties, )
  }
  return api;
}

}  // namespace kiln
