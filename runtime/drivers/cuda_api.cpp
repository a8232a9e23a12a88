// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/cuda_api.h"

namespace kiln {

Result<CudaApi> CudaApi::load(const SharedLibrary& library) {
  CudaApi api;
  KILN_CUDA_REQUIRED(KILN_GPU_REQUIRE)
  KILN_CUDA_OPTIONAL(KILN_GPU_PROBE)
  return api;
}

}  // namespace kiln
