// SPDX-License-Identifier: Apache-2.0
// Texts of the plugin interface as C++ views, and back.
#pragma once

#include <string_view>

#include "jit/llvm/plugin_abi.h"

namespace kiln {

inline std::string_view view(KilnText text) {
  return {text.data, text.size_bytes};
}
inline KilnText text_of(std::string_view view) {
  return {view.data(), view.size()};
}

}  // namespace kiln
