// SPDX-License-Identifier: Apache-2.0
// For python_call_bench.py, which loads it: the call that it measures, from C++.
#include <chrono>
#include <cstdint>
#include <vector>

#include "kiln/kiln.h"

// Microseconds for one of `calls` calls of qk_rmsnorm on bf16 [1, 64]; below 0: it failed.
extern "C" KILN_API double kiln_bare_qk_rmsnorm_us(int calls) {
  using namespace kiln;
  static const auto runtime = *Runtime::create(*Options::from_environment());
  std::vector<std::uint16_t> memory(6 * 64, 0x3f80);
  std::int64_t row[] = {1, 64};
  std::int64_t row_strides[] = {64, 1};
  std::int64_t weight[] = {64};
  std::int64_t weight_strides[] = {1};
  const auto tensor = [&](int index, int ndim) {
    return DLTensor{memory.data() + std::ptrdiff_t{64} * index,
                    {kDLCPU, 0},
                    ndim,
                    {kDLBfloat, 16, 1},
                    ndim == 2 ? row : weight,
                    ndim == 2 ? row_strides : weight_strides,
                    0};
  };
  QkRmsnormArgs args{};
  args.q = tensor(0, 2);
  args.k = tensor(1, 2);
  args.q_weight = tensor(2, 1);
  args.k_weight = tensor(3, 1);
  args.q_out = tensor(4, 2);
  args.k_out = tensor(5, 2);
  if (!qk_rmsnorm(*runtime, args)) return -1;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) {
    if (!qk_rmsnorm(*runtime, args)) return -1;
  }
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / calls;
}
