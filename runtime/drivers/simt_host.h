// SPDX-License-Identifier: Apache-2.0
// The host's side of kiln/simt_abi.h: what kernels call.
#pragma once

#include "templates/device/kiln/simt_abi.h"

namespace kiln {

const KilnSimtHost* simt_host();

}  // namespace kiln
