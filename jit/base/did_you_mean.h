// SPDX-License-Identifier: Apache-2.0
// "did you mean": the known name that is closest to what was typed.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kiln {

// " (did you mean 'kda_decode'?)", or nothing when no name is within a third of its length in
// insertions, deletions, replacements and swaps of neighbours, or, where it is too short for that,
// within one of these and begins alike. Letter case counts as no difference.
std::string did_you_mean(std::string_view given, std::span<const std::string_view> known);

}  // namespace kiln
