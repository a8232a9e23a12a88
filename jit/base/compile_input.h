// SPDX-License-Identifier: Apache-2.0
// CompileInput: all that a compiler may see. The key is made from it, so it is complete by
// construction: what is not in here cannot change the code.
#pragma once

#include <string>
#include <vector>

#include "jit/base/arch.h"
#include "jit/base/export.h"
#include "jit/base/record.h"
#include "jit/base/shape.h"

namespace kiln {

// How host and kernel agree on parameters and launch; bump it when either changes meaning.
inline constexpr int kLaunchAbiVersion = 1;
// The layout of an encoded Artifact; bump it when that changes.
inline constexpr int kEntryFormatVersion = 1;

struct SourceText {
  std::string name;  // what #include "..." says, or the main file's name in diagnostics
  std::string text;
};

struct KILN_API CompileInput {
  std::string op;              // "kda_decode", or the user's own name
  std::string implementation;  // "kda_decode/small_batch"
  Shape shape;
  Arch arch;
  SourceText source;
  std::vector<SourceText> headers;            // everything that #include may find
  std::vector<std::string> name_expressions;  // "kiln::kda_decode": C++ names of the entry points
  std::vector<std::string> options;           // -D, -U and -std=; every compiler understands these

  // The request half of the key. Sources go in as digest and length, options of which none is about
  // what another one is about in alphabetical order.
  Record request() const;

  // Refuses what cannot be cached: __DATE__, __TIME__, __TIMESTAMP__ in any text or option; an
  // #include or __has_include of an absolute path or by way of a macro (NVRTC would read a file
  // that is not part of this value); the assembler's .incbin and .include; options other than -D,
  // -U and -std= (they read files or have side effects); no name expression. Errors:
  // invalid_argument.
  Result<void> check() const;

  // "kda_decode/small_batch H=8 K=128 sm_90a": for messages and listings.
  std::string label() const;
};

}  // namespace kiln
