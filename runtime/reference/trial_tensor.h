// SPDX-License-Identifier: Apache-2.0
// A tensor of a Trial: its first contents on the host, its memory on the device, and a DLTensor.
#pragma once

#include <dlpack/dlpack.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "jit/base/bytes.h"
#include "kiln/driver.h"
#include "runtime/ops/tensor_check.h"

namespace kiln {

// A fast, seeded source of numbers; the same on every machine. splitmix64 (Steele, Lea, Flood
// 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // Uniform in [low, high).
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(next() >> 40) * 0x1p-24F;
  }

 private:
  std::uint64_t state_;
};

// bf16 as stored, from a float, rounded to nearest even; and back. NaN stays NaN.
inline std::uint16_t bf16_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}
inline float float_of_bf16(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

class TrialTensor {
 public:
  // Dense, row-major, contents undefined. Errors: of Driver::allocate.
  static Result<TrialTensor> create(Driver& driver, DLDevice device, ElementType type,
                                    std::vector<std::int64_t> shape);

  std::int64_t count() const;
  Bytes& host() { return host_; }
  template <class T>
  T* host_as() {
    return reinterpret_cast<T*>(host_.data());
  }
  template <class T>
  const T* host_as() const {
    return reinterpret_cast<const T*>(host_.data());
  }
  // Every element of the host's contents from `number`, converted to the tensor's type.
  void fill(const std::function<float()>& number);

  // The host's contents to the device.
  Result<void> upload(Driver& driver);
  // Every byte of the device's memory becomes 0xff: NaN in each floating-point type.
  Result<void> poison(Driver& driver);
  Result<Bytes> download(Driver& driver) const;

  // Valid as long as this tensor.
  DLTensor dl() const;

 private:
  TrialTensor() = default;
  ElementType type_ = ElementType::f32;
  DLDevice device_{};
  std::vector<std::int64_t> shape_;
  Bytes host_;
  std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace kiln
