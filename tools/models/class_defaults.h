// SPDX-License-Identifier: Apache-2.0
// What a configuration class takes for the fields that a config.json leaves out.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace kiln::cli {

// The defaults of the fields that are read here, by the class that transformers has for this model
// type; an empty object where it has none, and such a config then has to name its fields.
// transformers itself leaves out of a nested config what equals them.
const nlohmann::json& class_defaults(std::string_view model_type);

}  // namespace kiln::cli
