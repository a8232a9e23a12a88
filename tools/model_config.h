// SPDX-License-Identifier: Apache-2.0
// From a model's own Hugging Face config.json to the ops and shapes that an engine needs for it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "jit/base/result.h"
#include "templates/registry.h"

namespace kiln::cli {

// One op that the model needs at one shape.
struct ModelNeed {
  std::string op;
  std::vector<NameValue> shape;  // the parameters that the model fixes; the rest are the op's own
  std::string used_for;          // "KDA layers: 20 of 27"
};

struct ModelNeeds {
  std::string model_type;
  std::vector<ModelNeed> ops;
};

// `tensor_parallel` ranks share the heads. Understands model_type deepseek_v3, kimi_linear and
// llama. What a model needs and Kiln has no op for is listed too, under the name it would have.
// Errors: invalid_argument: a file that cannot be read or is not JSON (with line and column), an
// unknown model_type (with the known ones), a missing or mistyped field (by name), heads that do
// not divide by `tensor_parallel`.
Result<ModelNeeds> read_model_config(const std::filesystem::path& file, int tensor_parallel);

}  // namespace kiln::cli
