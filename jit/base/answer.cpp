// SPDX-License-Identifier: Apache-2.0
#include "jit/base/answer.h"

#include <fmt/format.h>

namespace kiln {

std::string Answer::reason() const {
  if (!format_) return reason_;
  if (word_) return fmt::format(fmt::runtime(format_), word_, first_);
  return fmt::format(fmt::runtime(format_), first_, second_);
}

}  // namespace kiln
