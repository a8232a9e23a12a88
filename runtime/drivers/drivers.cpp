// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/drivers.h"

#include <fmt/format.h>

#include "kiln/simt.h"
#include "runtime/drivers/cpu_driver.h"
#include "runtime/drivers/cuda_driver.h"
#include "runtime/drivers/hip_driver.h"

namespace kiln {

Drivers::Drivers(const DriverSettings& settings)
    : cuda_(make_cuda_driver({settings.cuda_library})),
      hip_(make_hip_driver({settings.hip_library, settings.rocm_folders})),
      cpu_(make_cpu_driver()),
      simt_(std::make_unique<SimtDriver>()) {}

Result<Driver*> Drivers::of(ArchFamily family) const {
  switch (family) {
    case ArchFamily::x86_64:
      return cpu_.get();
    case ArchFamily::simt:
      return simt_.get();
    case ArchFamily::nvidia:
      return cuda_.get();
    case ArchFamily::amd:
      return hip_.get();
  }
  return fail(ErrorCode::internal, fmt::format("no driver for family {}", name_of(family)));
}

std::vector<Driver*> Drivers::all() const {
  return {cuda_.get(), hip_.get(), cpu_.get(), simt_.get()};
}

}  // namespace kiln
