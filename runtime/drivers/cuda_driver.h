// SPDX-License-Identifier: Apache-2.0
// The driver of sm_*: NVIDIA's libcuda.so.1.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "kiln/driver.h"

namespace kiln {

struct CudaDriverSettings {
  std::optional<std::filesystem::path> library;  // KILN_CUDA_LIBRARY
};

// Opens nothing before the first call that needs it.
std::unique_ptr<Driver> make_cuda_driver(CudaDriverSettings settings);

}  // namespace kiln
