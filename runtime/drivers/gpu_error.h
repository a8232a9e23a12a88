// SPDX-License-Identifier: Apache-2.0
// From a vendor's status to an Error that says what to do.
#pragma once

#include "jit/base/result.h"
#include "runtime/drivers/gpu_vendor.h"

namespace kiln {

// What the call was for: the same status means other things at other times.
enum class GpuPurpose { open, use, load, launch };

// `on_what` follows the name of the call: "on device 1 (NVIDIA H200)".
Error gpu_error(const GpuVendor& vendor, const GpuReply& reply, GpuPurpose purpose,
                std::string_view on_what, std::string log = {});

}  // namespace kiln
