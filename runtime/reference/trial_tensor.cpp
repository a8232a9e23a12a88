// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/trial_tensor.h"

#include <numeric>

namespace kiln {
namespace {

// One of the two 8-bit floats next to `value`: fine for made-up contents.
std::byte float8_near(ElementType type, float value) {
  const auto half = static_cast<_Float16>(type == ElementType::e4m3 ? value / 256 : value);
  std::uint16_t bits;
  std::memcpy(&bits, &half, sizeof bits);
  if (type == ElementType::e5m2) return static_cast<std::byte>(bits >> 8);
  return static_cast<std::byte>((bits >> 8 & 0x80) | (bits >> 7 & 0x7f));
}

}  // namespace

Result<TrialTensor> TrialTensor::create(Driver& driver, DLDevice device, ElementType type,
                                        std::vector<std::int64_t> shape) {
  TrialTensor tensor;
  tensor.type_ = type;
  tensor.device_ = device;
  tensor.shape_ = std::move(shape);
  tensor.host_.resize(static_cast<std::size_t>(tensor.count()) * size_bytes_of(type));
  KILN_TRY_ASSIGN(tensor.memory_, driver.allocate(device.device_id, tensor.host_.size()));
  return tensor;
}

std::int64_t TrialTensor::count() const {
  return std::accumulate(shape_.begin(), shape_.end(), std::int64_t{1}, std::multiplies<>());
}

void TrialTensor::fill(const std::function<float()>& number) {
  const std::int64_t size = count();
  for (std::int64_t i = 0; i < size; ++i) {
    const float value = number();
    switch (type_) {
      case ElementType::bf16:
        host_as<std::uint16_t>()[i] = bf16_of(value);
        break;
      case ElementType::f32:
        host_as<float>()[i] = value;
        break;
      case ElementType::i32:
        host_as<std::int32_t>()[i] = static_cast<std::int32_t>(value);
        break;
      case ElementType::i64:
        host_as<std::int64_t>()[i] = static_cast<std::int64_t>(value);
        break;
      case ElementType::e4m3:
      case ElementType::e5m2:
        host_[static_cast<std::size_t>(i)] = float8_near(type_, value);
        break;
      case ElementType::f16: {
        const auto half = static_cast<_Float16>(value);
        std::memcpy(host_as<std::uint16_t>() + i, &half, sizeof half);
        break;
      }
    }
  }
}

Result<void> TrialTensor::upload(Driver& driver) {
  return driver.copy_to_device(device_.device_id, memory_->data(), host_.data(), host_.size());
}

Result<void> TrialTensor::poison(Driver& driver) {
  const Bytes poison(host_.size(), std::byte{0xff});
  return driver.copy_to_device(device_.device_id, memory_->data(), poison.data(), poison.size());
}

Result<Bytes> TrialTensor::download(Driver& driver) const {
  Bytes bytes(host_.size());
  KILN_TRY(driver.copy_to_host(device_.device_id, bytes.data(), memory_->data(), bytes.size()));
  return bytes;
}

DLTensor TrialTensor::dl() const {
  DLTensor tensor{};
  tensor.data = memory_->data();
  tensor.device = device_;
  tensor.ndim = static_cast<int>(shape_.size());
  tensor.dtype = dl_type_of(type_);
  tensor.shape = const_cast<std::int64_t*>(shape_.data());
  return tensor;
}

}  // namespace kiln
