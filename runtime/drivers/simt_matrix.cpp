// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_matrix.h"

#include <cstring>
#include <vector>

namespace kiln {
namespace {

struct Element {
  int row;
  int column;
};

// Which element of its matrix value `i` of lane `l` is.
using LaneMap = Element (*)(int l, int i);

struct Instruction {
  int rows;
  int columns;
  int depth;
  int a_values;  // of each lane
  int b_values;
  int c_values;
  LaneMap a;
  LaneMap b;
  LaneMap c;
};

// PTX ISA 8.x, "Matrix Fragments for mma.m16n8k16 with floating point type": groupID = l >> 2,
// threadID_in_group = l % 4; for A: row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, else
// groupID + 8; column = threadID_in_group * 2 + (i & 1), + 8 for i >= 4.
constexpr Instruction kMma = {
    16,
    8,
    16,
    8,
    4,
    4,
    [](int l, int i) {
      return Element{l / 4 + ((i / 2) % 2) * 8, l % 4 * 2 + i % 2 + i / 4 * 8};
    },
    [](int l, int i) {
      return Element{l % 4 * 2 + i % 2 + i / 2 * 8, l / 4};
    },
    [](int l, int i) {
      return Element{l / 4 + i / 2 * 8, l % 4 * 2 + i % 2};
    }};

// AMD CDNA3 ISA, "Dense Matrix Multiplication Instructions": 16 rows of A on lanes of equal l / 16,
// four elements of k each.
constexpr Instruction kMfma16 = {16,
                                 16,
                                 16,
                                 4,
                                 4,
                                 4,
                                 [](int l, int i) {
                                   return Element{l % 16, l / 16 * 4 + i};
                                 },
                                 [](int l, int i) {
                                   return Element{l / 16 * 4 + i, l % 16};
                                 },
                                 [](int l, int i) {
                                   return Element{l / 16 * 4 + i, l % 16};
                                 }};
constexpr Instruction kMfma32 = {32,
                                 32,
                                 8,
                                 4,
                                 4,
                                 16,
                                 [](int l, int i) {
                                   return Element{l % 32, l / 32 * 4 + i};
                                 },
                                 [](int l, int i) {
                                   return Element{l / 32 * 4 + i, l % 32};
                                 },
                                 [](int l, int i) {
                                   return Element{i / 4 * 8 + l / 32 * 4 + i % 4, l % 32};
                                 }};

const Instruction& instruction_of(KilnSimtMatrix kind) {
  switch (kind) {
    case kKilnSimtMmaBf16:
    case kKilnSimtMmaF16:
      break;
    case kKilnSimtMfma16Bf16:
      return kMfma16;
    case kKilnSimtMfma32Bf16:
      return kMfma32;
  }
  return kMma;
}

double value_at(const void* registers, int i, bool half) {
  std::uint16_t bits;
  std::memcpy(&bits, static_cast<const char*>(registers) + i * 2, sizeof bits);
  return half ? float_of_f16_bits(bits) : float_of_bf16_bits(bits);
}

}  // namespace

float float_of_bf16_bits(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}
float float_of_f16_bits(std::uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}

void multiply_matrices(KilnSimtMatrix kind, std::span<const MatrixLane> lanes) {
  const Instruction& shape = instruction_of(kind);
  const bool half = kind == kKilnSimtMmaF16;
  std::vector<double> a(static_cast<std::size_t>(shape.rows * shape.depth));
  std::vector<double> b(static_cast<std::size_t>(shape.depth * shape.columns));
  for (int l = 0; l < static_cast<int>(lanes.size()); ++l) {
    const MatrixLane& lane = lanes[static_cast<std::size_t>(l)];
    for (int i = 0; i < shape.a_values; ++i) {
      const Element at = shape.a(l, i);
      a[static_cast<std::size_t>(at.row * shape.depth + at.column)] = value_at(lane.a, i, half);
    }
    for (int i = 0; i < shape.b_values; ++i) {
      const Element at = shape.b(l, i);
      b[static_cast<std::size_t>(at.row * shape.columns + at.column)] = value_at(lane.b, i, half);
    }
  }
  for (int l = 0; l < static_cast<int>(lanes.size()); ++l) {
    const MatrixLane& lane = lanes[static_cast<std::size_t>(l)];
    for (int i = 0; i < shape.c_values; ++i) {
      const Element at = shape.c(l, i);
      double sum = lane.c[i];
      for (int k = 0; k < shape.depth; ++k) {
        sum += a[static_cast<std::size_t>(at.row * shape.depth + k)] *
               b[static_cast<std::size_t>(k * shape.columns + at.column)];
      }
      lane.d[i] = static_cast<float>(sum);
    }
  }
}

void load_matrices(int count, bool transpose, std::span<const MatrixRow> lanes) {
  const auto element = [&](int matrix, int row, int column) {
    std::uint16_t bits;
    const void* from = lanes[static_cast<std::size_t>(matrix * 8 + row)].row;
    std::memcpy(&bits, static_cast<const char*>(from) + column * 2, sizeof bits);
    return std::uint32_t{bits};
  };
  for (int l = 0; l < static_cast<int>(lanes.size()); ++l) {
    const int row = l / 4;
    const int column = l % 4 * 2;
    for (int m = 0; m < count; ++m) {
      const std::uint32_t low = transpose ? element(m, column, row) : element(m, row, column);
      const std::uint32_t high =
          transpose ? element(m, column + 1, row) : element(m, row, column + 1);
      lanes[static_cast<std::size_t>(l)].words[m] = low | high << 16;
    }
  }
}

}  // namespace kiln
