// SPDX-License-Identifier: Apache-2.0
// The driver of arch cpu and x86-64-*: kernels are shared objects loaded into this process.
#pragma once

#include <memory>

#include "kiln/driver.h"

namespace kiln {

// Launches run on the cores of this process and are complete when they return. A launch on worker
// 0 alone (one work item) stays on the caller's thread.
std::unique_ptr<Driver> make_cpu_driver();

}  // namespace kiln
