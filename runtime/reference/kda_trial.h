// SPDX-License-Identifier: Apache-2.0
// What the trials of both KDA ops share.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "runtime/reference/kda_decode.h"
#include "templates/registry.h"

namespace kiln {

// The enumerator of a C++ enum whose order is that of the choices of a shape's word.
template <class Choice>
Choice choice_of(const Op& op, const Shape& shape, const std::string& name) {
  const auto spec = std::find_if(op.shape_params.begin(), op.shape_params.end(),
                                 [&](const ParamSpec& one) { return one.name == name; });
  const auto& all = spec->choices;
  return static_cast<Choice>(std::find(all.begin(), all.end(), shape.word(name)) - all.begin());
}

inline reference::KdaDecodeSettings kda_settings_of(const Op& op, const Shape& shape) {
  reference::KdaDecodeSettings settings;
  settings.scale = 1 / std::sqrt(static_cast<double>(shape.integer("K")));
  settings.qk_l2norm = shape.flag("qk_l2norm");
  settings.gate = choice_of<KdaGate>(op, shape, "gate");
  settings.beta = choice_of<KdaBeta>(op, shape, "beta");
  return settings;
}

inline double largest_of(const std::vector<double>& values) {
  double most = 1e-30;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

}  // namespace kiln
