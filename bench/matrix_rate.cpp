// SPDX-License-Identifier: Apache-2.0
#include "bench/matrix_rate.h"

#include <fmt/format.h>

#include "templates/sources.h"

namespace kiln::bench {
namespace {

struct Params {
  float* out;  // one float per thread
  int loops;
};

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocks = 1056;  // 8 for each multiprocessor of an H200
constexpr int kLoops = 2000;
constexpr double kMmaFlops = 8 * 8 * 2.0 * 16 * 8 * 16;      // of a block and a loop: eight warps
constexpr double kWgmmaFlops = 2 * 8 * 2.0 * 64 * 128 * 16;  // two warpgroups

constexpr std::string_view kMmaSource = R"(
#include "kiln/kernel.h"
#include "kiln/mma.h"
namespace kiln {
struct RateParams { float* out; int loops; };
// Eight independent chains, so that no multiplication waits for the one before.
KILN_KERNEL(256, 1) matrix_rate(KILN_PARAMS(RateParams) p) {
  MmaC c[8] = {};
  MmaA a;
  MmaB b;
  const u32 bits = 0x3f003f00u + static_cast<u32>(thread_rank()) * 0x00410023u % 0x00800080u;
  for (int i = 0; i < 4; ++i) a.words[i].bits = bits + i * 0x80000011u;
  for (int i = 0; i < 2; ++i) b.words[i].bits = bits ^ (i * 0x80000031u);
  for (int i = 0; i < p.loops; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) c[j] = mma_m16n8k16<bf16>(a, b, c[j]);
  }
  float sum = 0;
  for (int j = 0; j < 8; ++j) sum += c[j].values[0] + c[j].values[1] + c[j].values[2] + c[j].values[3];
  p.out[block_idx().x * block_dim().x + thread_idx().x] = sum;
}
}
)";

constexpr std::string_view kWgmmaSource = R"(
#include "kiln/barrier.h"
#include "kiln/kernel.h"
#include "kiln/mbarrier.h"
#include "kiln/shared.h"
#include "kiln/thread.h"
#include "kiln/warpgroup.h"
namespace kiln {
struct RateParams { float* out; int loops; };
KILN_KERNEL(256, 1) matrix_rate(KILN_PARAMS(RateParams) p) {
  KILN_SHARED_DYNAMIC(u32, cells, 0, 16640);
  u32 bits = static_cast<u32>(thread_rank()) * 747796405u + 1;
  for (int i = thread_rank(); i < 16640; i += 256) {
    bits = bits * 1664525u + 1013904223u;
    cells.store(i, 0x3f003f00u | (bits >> 3 & 0x807f807fu));
  }
  fence_for_async_proxy();
  block_barrier();
  const u32 base = (dialect::shared_address(cells.raw(0)) + 1023u) & ~1023u;
  const SwizzledTile<128> a{base};
  const SwizzledTile<128> b{base + 32768};
  MmaC c[16] = {};
  const int row = warp() / 4 * 64;
  for (int i = 0; i < p.loops; ++i) {
    warpgroup_arrive();
#pragma unroll
    for (int step = 0; step < 8; ++step) {
      warpgroup_mma<bf16>(c, a.along_rows(row, step), b.along_rows(0, step), true);
    }
    warpgroup_commit();
    warpgroup_wait<0>(c);
  }
  float sum = 0;
  for (int j = 0; j < 16; ++j) sum += c[j].values[0] + c[j].values[1] + c[j].values[2] + c[j].values[3];
  p.out[block_idx().x * block_dim().x + thread_idx().x] = sum;
}
}
)";

Result<CompileInput> input_of(const Arch& arch, MatrixInstruction which) {
  const bool wgmma = which == MatrixInstruction::wgmma;
  CompileInput input{"matrix_rate",
                     wgmma ? "matrix_rate/wgmma" : "matrix_rate/mma_sync",
                     {},
                     arch,
                     {},
                     {},
                     {},
                     {}};
  input.source = {"matrix_rate.cu", std::string(wgmma ? kWgmmaSource : kMmaSource)};
  std::vector<SourceText> others;  // the dialects that this is not
  for (const char* name : {"hip", "simt", "simt_checked"}) {
    others.push_back({fmt::format("kiln/dialect/{}.h", name), "#error \"not this dialect\"\n"});
  }
  KILN_TRY_ASSIGN(input.headers, reached_headers(input.source.text, others));
  input.headers.insert(input.headers.end(), others.begin(), others.end());
  input.name_expressions = {"kiln::matrix_rate"};
  input.options = {"-std=c++17", "-DKILN_DIALECT_CUDA=1", "-DKILN_WARP_SIZE=32",
                   fmt::format("-DKILN_SM={}", arch.sm() * 10)};
  return input;
}

}  // namespace

Result<void> prepare_matrix_rate(Runtime& runtime, const Arch& arch, MatrixInstruction which) {
  KILN_TRY_ASSIGN(const CompileInput input, input_of(arch, which));
  KILN_TRY(runtime.prepare(input));
  return {};
}

Result<double> matrix_tflops(Runtime& runtime, const GpuMachine& machine, MatrixInstruction which) {
  const bool wgmma = which == MatrixInstruction::wgmma;
  KILN_TRY_ASSIGN(const CompileInput input, input_of(machine.arch, which));
  KILN_TRY_ASSIGN(const auto kernel, runtime.kernel(input, machine.index, machine.timer.stream()));
  KILN_TRY_ASSIGN(const auto out, machine.driver.allocate(machine.index, 4 * kBlocks * kThreads));
  const Params params{static_cast<float*>(out->data()), kLoops};
  LaunchStep step;
  step.dims.grid.x = kBlocks;
  step.dims.block.x = kThreads;
  if (wgmma) step.dims.shared_bytes_dynamic = 4 * 16640;
  std::vector<double> rates;
  for (int round = -1; round < 7; ++round) {
    Result<void> done;
    const double us = machine.timer.time_us(
        [&] { done = kernel->launch({step}, &params, sizeof params, machine.timer.stream()); });
    KILN_TRY(std::move(done));
    const double flops = kBlocks * double{kLoops} * (wgmma ? kWgmmaFlops : kMmaFlops);
    if (round >= 0) rates.push_back(flops / us / 1e6);
  }
  return median(rates);
}

}  // namespace kiln::bench
