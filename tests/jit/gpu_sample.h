// SPDX-License-Identifier: Apache-2.0
// A small source that NVRTC, hipRTC and LLVM compile, and what the tests of one share.
#pragma once

#include "tests/jit/compilers_for_test.h"

namespace kiln::test {

inline CompileInput gpu_sample(std::string_view name) {
  constexpr const char* kSource = R"(#include "kiln/tile.h"
namespace kiln {
template <int N>
__global__ void __launch_bounds__(256) reverse(float* values) {
  __shared__ float tile[kTile * N];
  tile[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = tile[kTile * N - 1 - threadIdx.x] * SCALE;
}
}  // namespace kiln
extern "C" __global__ void plain(int* value) { *value = 1; }
)";
  return {"reverse",
          "reverse/simple",
          {},
          arch(name),
          {"reverse/simple.cu", kSource},
          {{"kiln/tile.h", "constexpr int kTile = 64;"}},
          {"kiln::reverse<2>", "plain", "&kiln::reverse<4>"},
          {"-DSCALE=3.0f", "-std=c++17"}};
}

class Hiprtc : public CompilerTest {
 protected:
  Hiprtc() : CompilerTest("gfx90a") {}
};

}  // namespace kiln::test
