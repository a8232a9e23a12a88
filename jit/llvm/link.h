// SPDX-License-Identifier: Apache-2.0
// From an object file to a shared object or a code object, by lld as a library.
#pragma once

#include <shared_mutex>
#include <string>
#include <string_view>

#include "jit/base/result.h"
#include "jit/llvm/plugin_abi.h"

namespace kiln {

// LLVM's command-line options are globals that code generation reads and that lld sets for each
// link. Code generation holds this shared, a link holds it alone.
std::shared_mutex& llvm_globals();

// The result needs no other library. On x86-64 the memory functions that compilers call by
// themselves and the C math functions may be left to the process that loads it; on AMDGPU nothing.
// Any thread that does not hold llvm_globals(), which this takes; so links come one after the
// other, as lld's own globals demand. Errors: compile_failed, naming what nothing provides, or with
// lld's words.
Result<std::string> link_object(std::string_view object, KilnLlvmFamily family,
                                KilnLlvmDebug debug);

}  // namespace kiln
