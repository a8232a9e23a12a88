// SPDX-License-Identifier: Apache-2.0
// Which files a C++ source names to its preprocessor, found without running one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kiln {

// How a file is named.
enum class NamedBy {
  include,      // #include, #include_next, #import, #embed
  has_include,  // __has_include, __has_embed
};

struct NamedFile {
  NamedBy by;
  int line;          // where the directive begins, counted from 1
  std::string text;  // what follows the word, to the end of the line, without comments

  // "\"a.h\"" or "<a.h>" with its delimiters; empty when `text` begins with no closed name, such as
  // a macro.
  std::string_view quoted() const;
};

// In the order of the text, whether or not a condition hides them. Comments, string literals, line
// splices, digraphs (%:include) and trigraphs are seen through; an operator that a macro would hide
// (#define X __has_include) is found with an empty name.
std::vector<NamedFile> files_named_in(std::string_view text);

}  // namespace kiln
