// SPDX-License-Identifier: Apache-2.0
// A valid call of every op, with addresses that nobody reads: for tests and benches of what happens
// before a launch.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "kiln/kiln.h"

namespace kiln::test {

struct SampleCall {
  std::string op;
  std::function<Result<void>(Runtime&, const CallOptions&)> call;
  // The same with another batch, which needs no other kernel.
  std::function<Result<void>(Runtime&, const CallOptions&)> call_with_other_batch;
};

// Tensors that lie nowhere.
class SampleTensors {
 public:
  explicit SampleTensors(DLDevice device) : device_(device) {}

  DLTensor bf16(std::vector<std::int64_t> shape) { return make({kDLBfloat, 16, 1}, shape); }
  DLTensor f32(std::vector<std::int64_t> shape) { return make({kDLFloat, 32, 1}, shape); }
  DLTensor i32(std::vector<std::int64_t> shape) { return make({kDLInt, 32, 1}, shape); }

 private:
  DLTensor make(DLDataType type, std::vector<std::int64_t> shape) {
    std::vector<std::int64_t>& kept = shapes_.emplace_back(std::move(shape));
    return {reinterpret_cast<void*>(std::uintptr_t{1} << 20),
            device_,
            static_cast<int>(kept.size()),
            type,
            kept.data(),
            nullptr,
            0};
  }

  const DLDevice device_;
  std::deque<std::vector<std::int64_t>> shapes_;  // that the tensors point to
};

KdaDecodeArgs sample_kda_decode(SampleTensors& make, std::int64_t batch);
KdaPrefillArgs sample_kda_prefill(SampleTensors& make, std::int64_t tokens);
AttentionDecodeArgs sample_attention_decode(SampleTensors& make, std::int64_t batch);
AttentionPrefillArgs sample_attention_prefill(SampleTensors& make, std::int64_t tokens);
QkRmsnormArgs sample_qk_rmsnorm(SampleTensors& make, std::int64_t rows);
RouterGemmArgs sample_router_gemm(SampleTensors& make, std::int64_t tokens);

// One of every op. `make` must outlive them.
std::vector<SampleCall> sample_calls(SampleTensors& make);

}  // namespace kiln::test
