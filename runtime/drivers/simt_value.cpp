// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_value.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>

#include "runtime/drivers/simt_matrix.h"

namespace kiln {
namespace {

template <class T>
T read(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class Narrow, class Short, class Word, class Long>
std::string integer_text(unsigned bytes, const void* at) {
  switch (bytes) {
    case 1:
      return fmt::format("{}", static_cast<int>(read<Narrow>(at)));
    case 2:
      return fmt::format("{}", read<Short>(at));
    case 4:
      return fmt::format("{}", read<Word>(at));
    default:
      return fmt::format("{}", read<Long>(at));
  }
}

}  // namespace

std::string value_text(const KilnSimtAccess& access, const void* at) {
  switch (access.type) {
    case kKilnSimtFloat:
      return access.element_bytes == 8 ? fmt::format("{}", read<double>(at))
                                       : fmt::format("{}", read<float>(at));
    case kKilnSimtBf16:
      return fmt::format("{}", float_of_bf16_bits(read<std::uint16_t>(at)));
    case kKilnSimtF16:
      return fmt::format("{}", float_of_f16_bits(read<std::uint16_t>(at)));
    case kKilnSimtSigned:
      return integer_text<std::int8_t, std::int16_t, std::int32_t, std::int64_t>(
          access.element_bytes, at);
    case kKilnSimtUnsigned:
      return integer_text<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>(
          access.element_bytes, at);
    case kKilnSimtBytes:
      break;
  }
  return fmt::format("first byte {:#x}", read<std::uint8_t>(at));
}

}  // namespace kiln
