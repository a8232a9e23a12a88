// SPDX-License-Identifier: Apache-2.0
// A small kernel for the CPU that uses what real ones use: a header, vectors, a template.
#pragma once

#include "tests/jit/compilers_for_test.h"

namespace kiln::test {

inline CompileInput llvm_sample(std::string_view arch_name) {
  return {
      "axpy",
      "axpy/vector",
      {},
      arch(arch_name),
      {"axpy/vector.cpp", R"(#include "kiln/vector.h"
namespace kiln {
template <int N>
void axpy(const float* x, float* y, long count) {
  for (long i = 0; i < count; i += 16) *(F16*)(y + i) += *(const F16*)(x + i) * float(N * SCALE);
}
static int hidden_count = 0;
int next() { return ++hidden_count; }
namespace {
int local(int value) { return value + 1; }
}
}  // namespace kiln
extern "C" float plain(float x) { return __builtin_expf(x); }
)"},
      {{"kiln/vector.h", "typedef float F16 __attribute__((ext_vector_type(16), aligned(4)));\n"}},
      {"kiln::axpy<3>", "&kiln::next", "plain", "kiln::local"},
      {"-DSCALE=2", "-std=c++17"}};
}

class Llvm : public CompilerTest {
 protected:
  Llvm() : CompilerTest("x86-64-v2") {}
};

}  // namespace kiln::test
