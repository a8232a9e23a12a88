// SPDX-License-Identifier: Apache-2.0
#include "bench/kda_plain_loop.h"

#include <cmath>
#include <cstring>

namespace kiln::bench {
namespace {

constexpr int kSizeMax = 256;

float from_bf16(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

std::uint16_t to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace

void kda_plain_loop(const KdaPlainInputs& in, float rate, std::int64_t k_size, std::int64_t v_size,
                    float* state, std::uint16_t* out) {
  float q[kSizeMax], k[kSizeMax], decay[kSizeMax];
  float qq = 1e-6F, kk = 1e-6F;
  for (std::int64_t j = 0; j < k_size; ++j) {
    q[j] = from_bf16(in.q[j]);
    k[j] = from_bf16(in.k[j]);
    decay[j] = std::exp(-rate * std::log1p(std::exp(from_bf16(in.a[j]))));
    qq += q[j] * q[j];
    kk += k[j] * k[j];
  }
  const float scale = 1 / std::sqrt(static_cast<float>(k_size));
  for (std::int64_t j = 0; j < k_size; ++j) {
    q[j] *= scale / std::sqrt(qq);
    k[j] /= std::sqrt(kk);
  }
  const float beta = 1 / (1 + std::exp(-from_bf16(in.b[0])));
  for (std::int64_t i = 0; i < v_size; ++i) {
    float* row = state + i * k_size;
    float along_k = 0;
    for (std::int64_t j = 0; j < k_size; ++j) {
      row[j] *= decay[j];
      along_k += row[j] * k[j];
    }
    const float u = beta * (from_bf16(in.v[i]) - along_k);
    float o = 0;
    for (std::int64_t j = 0; j < k_size; ++j) {
      row[j] += u * k[j];
      o += row[j] * q[j];
    }
    out[i] = to_bf16(o);
  }
}

}  // namespace kiln::bench
