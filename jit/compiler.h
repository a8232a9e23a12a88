// SPDX-License-Identifier: Apache-2.0
// Compiler: CompileInput to Artifact, and the identity of who does it.
//
// Every implementation keeps these rules: creating one opens nothing; toolchain() reads files and
// loads nothing; the vendor library is opened on the first compile() or archs() and only then; all
// functions may be called from any thread; a compile depends on nothing but the CompileInput and
// what toolchain() names.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/answer.h"
#include "jit/base/artifact.h"
#include "jit/base/compile_input.h"
#include "jit/base/export.h"
#include "jit/base/library_search.h"

namespace kiln {

class KILN_API Compiler {
 public:
  virtual ~Compiler() = default;

  virtual std::string_view name() const = 0;  // "nvrtc", "hiprtc", "llvm"

  // The toolchain half of the key: what would be loaded, by build-ids read from files.
  // Errors: unavailable, saying what was looked for and how to get it.
  virtual Result<Record> toolchain() = 0;

  // Whether this compiler can make code for `arch`; the reason if not. May open the library.
  virtual Answer can_compile(const Arch& arch) = 0;

  // Errors: compile_failed with the compiler's log; unavailable when it cannot be opened or does
  // not know the arch; invalid_argument for what CompileInput::check() refuses.
  virtual Result<Artifact> compile(const CompileInput& input) = 0;

  // compile() for callers who may give up: once `stop` is requested it ends early, if it can. Only
  // a compile in another process can be ended; others run on. Errors: also cancelled.
  virtual Result<Artifact> compile_until(const CompileInput& input,
                                         const std::stop_token& /*stop*/) {
    return compile(input);
  }

  // Intermediate text of the same compile: `kind` is "ptx" (nvrtc) or "llvm" or "asm" (llvm);
  // hiprtc makes none.
  // Errors: those of compile(); invalid_argument for a kind this compiler does not make.
  virtual Result<std::string> emit(const CompileInput& input, std::string_view kind) = 0;

  struct Description {
    std::string version;                   // of the opened library
    std::vector<std::string> libraries;    // files it consists of
    std::string found_by;                  // which rule found it
    std::vector<LibraryAttempt> attempts;  // every place tried
    std::vector<std::string> archs;        // what it says it can compile for
    std::vector<std::string> limitations;  // optional functions that are missing, and so on
    std::string runs_in = "this process";  // or "kiln-worker processes"
  };
  // For `jitctl doctor`; opens the library. On failure `attempts` (if given) is still filled.
  virtual Result<Description> describe(std::vector<LibraryAttempt>* attempts = nullptr) = 0;
};

}  // namespace kiln
