// SPDX-License-Identifier: Apache-2.0
// The first element of an access as a number, for people.
#pragma once

#include <string>

#include "templates/device/kiln/simt_abi.h"

namespace kiln {

std::string value_text(const KilnSimtAccess& access, const void* at);

}  // namespace kiln
