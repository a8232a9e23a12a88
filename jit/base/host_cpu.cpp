// SPDX-License-Identifier: Apache-2.0
#include "jit/base/host_cpu.h"

namespace kiln {

#if defined(__x86_64__)

// __builtin_cpu_supports asks the operating system too, so that a register file that it does not
// save is not reported. It wants literals, hence no table.
Result<std::string> host_cpu_name() {
  __builtin_cpu_init();
  std::string name;
  if (__builtin_cpu_supports("x86-64-v4")) {
    name = "x86-64-v4";
  } else if (__builtin_cpu_supports("x86-64-v3")) {
    name = "x86-64-v3";
  } else if (__builtin_cpu_supports("x86-64-v2")) {
    name = "x86-64-v2";
  } else {
    return fail(ErrorCode::unavailable, "arch 'cpu': this processor is older than x86-64-v2");
  }
  if (__builtin_cpu_supports("avx512bf16")) name += "+avx512bf16";
  if (__builtin_cpu_supports("avx512vnni")) name += "+avx512vnni";
  return name;
}

#else

Result<std::string> host_cpu_name() {
  return fail(ErrorCode::unavailable, "arch 'cpu': this processor is not x86-64");
}

#endif

}  // namespace kiln
