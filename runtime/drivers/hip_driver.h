// SPDX-License-Identifier: Apache-2.0
// The driver of gfx*: ROCm's libamdhip64.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "kiln/driver.h"

namespace kiln {

struct HipDriverSettings {
  std::optional<std::filesystem::path> library;     // KILN_HIP_LIBRARY
  std::vector<std::filesystem::path> rocm_folders;  // $ROCM_PATH, /opt/rocm
};

// Opens nothing before the first call that needs it.
std::unique_ptr<Driver> make_hip_driver(HipDriverSettings settings);

}  // namespace kiln
