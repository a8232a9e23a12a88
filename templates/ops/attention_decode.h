// SPDX-License-Identifier: Apache-2.0
// What the op attention_decode is made of.
#pragma once

#include <vector>

#include "templates/registry.h"

namespace kiln {

std::vector<ParamSpec> attention_decode_shape_params();
std::vector<ParamSpec> attention_decode_call_params();

}  // namespace kiln
