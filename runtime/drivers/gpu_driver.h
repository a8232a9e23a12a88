// SPDX-License-Identifier: Apache-2.0
// The Driver of CUDA and of HIP: one class, over what differs.
#pragma once

#include <functional>
#include <memory>

#include "runtime/drivers/gpu_vendor.h"

namespace kiln {

class Driver;

// `make_vendor` is called on first need, and again after an opening that failed.
using MakeGpuVendor = std::function<std::unique_ptr<GpuVendor>()>;
std::unique_ptr<Driver> make_gpu_driver(const GpuTraits& traits, MakeGpuVendor make_vendor);

}  // namespace kiln
