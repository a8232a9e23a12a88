// SPDX-License-Identifier: Apache-2.0
// From a model's own Hugging Face config.json to the ops and shapes that an engine needs for it.
#pragma once

#include <filesystem>

#include "tools/models/needs.h"

namespace kiln::cli {

struct ModelNeeds {
  std::string model_type;  // of the language model, where the config nests one
  std::vector<ModelNeed> ops;
};

// The model types that are understood, separated by commas.
std::string known_model_types();

// What a model needs and Kiln has no op for is listed too, under the name it would have. A config
// of a model with pictures or sound is read by the part that describes its language model. What a
// config leaves out is what the model's configuration class has for it. Errors: invalid_argument:
// those of read_json_object() and ConfigReader, an unknown model_type (with the known ones), heads
// that do not divide by the ranks, a type of activations that no op takes.
Result<ModelNeeds> read_model_config(const std::filesystem::path& file,
                                     const ModelSettings& settings);

}  // namespace kiln::cli
