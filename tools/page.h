// SPDX-License-Identifier: Apache-2.0
// How text is laid out for people: 100 columns, colours on terminals only.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace kiln::cli {

inline constexpr std::size_t kPageColumns = 100;

// `text` with line ends in place of blanks, so that it fits the page when it is printed from column
// `indent` on; the later lines are indented by as much. A word that is too long stays whole.
std::string folded(std::string_view text, std::size_t indent);

// Whether the terminal can do no more than print: no colours, no line that updates.
bool is_dumb_terminal();

enum class Colour { red, green, yellow, bold };
// `text` in that colour where `stream` (stdout or stderr) is a terminal; else, and where NO_COLOR
// is set or TERM is "dumb", as it is.
std::string painted(Colour colour, std::string_view text, std::FILE* stream);

}  // namespace kiln::cli
