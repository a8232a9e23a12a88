// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_matrix.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace kiln {
namespace {

// Which element of its matrix value `i` of lane `l` is.
using LaneMap = MatrixPlace (*)(int l, int i);

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
      return MatrixPlace{l / 4 + ((i / 2) % 2) * 8, l % 4 * 2 + i % 2 + i / 4 * 8};
    },
    [](int l, int i) {
      return MatrixPlace{l % 4 * 2 + i % 2 + i / 2 * 8, l / 4};
    },
    [](int l, int i) {
      return MatrixPlace{l / 4 + i / 2 * 8, l % 4 * 2 + i % 2};
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
                                   return MatrixPlace{l % 16, l / 16 * 4 + i};
                                 },
                                 [](int l, int i) {
                                   return MatrixPlace{l / 16 * 4 + i, l % 16};
                                 },
                                 [](int l, int i) {
                                   return MatrixPlace{l / 16 * 4 + i, l % 16};
                                 }};
constexpr Instruction kMfma32 = {32,
                                 32,
                                 8,
                                 4,
                                 4,
                                 16,
                                 [](int l, int i) {
                                   return MatrixPlace{l % 32, l / 32 * 4 + i};
                                 },
                                 [](int l, int i) {
                                   return MatrixPlace{l / 32 * 4 + i, l % 32};
                                 },
                                 [](int l, int i) {
                                   return MatrixPlace{i / 4 * 8 + l / 32 * 4 + i % 4, l % 32};
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

std::uint16_t element_at(const unsigned* words, int i) {
  return static_cast<std::uint16_t>(words[i / 2] >> i % 2 * 16);
}

double value_at(const unsigned* words, int i, bool half) {
  const std::uint16_t bits = element_at(words, i);
  return half ? float_of_f16_bits(bits) : float_of_bf16_bits(bits);
}

}  // namespace

std::string_view name_of(KilnSimtMatrix kind) {
  switch (kind) {
    case kKilnSimtMmaBf16:
    case kKilnSimtMmaF16:
      break;
    case kKilnSimtMfma16Bf16:
      return "mfma_16x16x16";
    case kKilnSimtMfma32Bf16:
      return "mfma_32x32x8";
  }
  return "mma_m16n8k16";
}

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

void multiply_matrices(KilnSimtMatrix kind, std::span<const KilnSimtMatrixOperands> lanes) {
  const Instruction& shape = instruction_of(kind);
  const bool half = kind == kKilnSimtMmaF16;
  std::vector<double> a(static_cast<std::size_t>(shape.rows * shape.depth));
  std::vector<double> b(static_cast<std::size_t>(shape.depth * shape.columns));
  for (int l = 0; l < static_cast<int>(lanes.size()); ++l) {
    const KilnSimtMatrixOperands& lane = lanes[static_cast<std::size_t>(l)];
    for (int i = 0; i < shape.a_values; ++i) {
      const MatrixPlace at = shape.a(l, i);
      a[static_cast<std::size_t>(at.row * shape.depth + at.column)] = value_at(lane.a, i, half);
    }
    for (int i = 0; i < shape.b_values; ++i) {
      const MatrixPlace at = shape.b(l, i);
      b[static_cast<std::size_t>(at.row * shape.columns + at.column)] = value_at(lane.b, i, half);
    }
  }
  for (int l = 0; l < static_cast<int>(lanes.size()); ++l) {
    const KilnSimtMatrixOperands& lane = lanes[static_cast<std::size_t>(l)];
    for (int i = 0; i < shape.c_values; ++i) {
      const MatrixPlace at = shape.c(l, i);
      double sum = lane.c[i];
      for (int k = 0; k < shape.depth; ++k) {
        sum += a[static_cast<std::size_t>(at.row * shape.depth + k)] *
               b[static_cast<std::size_t>(k * shape.columns + at.column)];
      }
      lane.d[i] = static_cast<float>(sum);
    }
  }
}

void load_matrices(std::span<const KilnSimtMatrixLoad> lanes) {
  const int count = lanes.front().count;
  const bool transpose = lanes.front().transpose != 0;
  for (int l = 0; l < static_cast<int>(lanes.size()); ++l) {
    const KilnSimtMatrixLoad& to = lanes[static_cast<std::size_t>(l)];
    for (int i = 0; i < 2 * count; ++i) {
      const int across = l / 4;
      const int along = l % 4 * 2 + i % 2;
      const int row = transpose ? along : across;
      const int column = transpose ? across : along;
      const KilnSimtMatrixLoad& from = lanes[static_cast<std::size_t>(i / 2 * 8 + row)];
      if (i % 2 == 0) to.words[i / 2] = 0;
      to.words[i / 2] |= unsigned{element_at(from.row, column)} << i % 2 * 16;
      if (to.origins) to.origins[i] = from.row_origins[column];
    }
  }
}

namespace {

// Where the matrix begins for an element that is rightly where it is.
MatrixPlace begin_for(const KilnSimtOrigin& origin, const MatrixPlace& in_instruction) {
  return {origin.row - in_instruction.row, origin.column - in_instruction.column};
}

void add_misplaced(std::vector<MisplacedElement>& found, char operand, LaneMap map, int values,
                   std::span<const KilnSimtMatrixOperands> lanes) {
  const bool is_a = operand == 'A';
  const auto visit = [&](auto each) {
    for (unsigned l = 0; l < lanes.size(); ++l) {
      const unsigned* words = is_a ? lanes[l].a : lanes[l].b;
      const KilnSimtOrigin* origins = is_a ? lanes[l].a_origins : lanes[l].b_origins;
      for (int i = 0; i < values; ++i) {
        const bool unnamed = !origins[i].site.file;
        if (unnamed && element_at(words, i) == 0) continue;
        each(l, i, map(static_cast<int>(l), i), origins[i], unnamed);
      }
    }
  };
  std::map<MatrixPlace, int> votes;
  visit([&](unsigned, int, const MatrixPlace& place, const KilnSimtOrigin& origin, bool unnamed) {
    if (!unnamed) ++votes[begin_for(origin, place)];
  });
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& x, const auto& y) { return x.second < y.second; });
  const MatrixPlace begin = most == votes.end() ? MatrixPlace{0, 0} : most->first;
  visit(
      [&](unsigned l, int i, const MatrixPlace& place, const KilnSimtOrigin& origin, bool unnamed) {
        if (!unnamed && begin_for(origin, place) == begin) return;
        const MatrixPlace expected{begin.row + place.row, begin.column + place.column};
        found.push_back({l, operand, i, expected, &origin});
      });
}

}  // namespace

std::vector<MisplacedElement> misplaced_elements(KilnSimtMatrix kind,
                                                 std::span<const KilnSimtMatrixOperands> lanes) {
  const Instruction& shape = instruction_of(kind);
  std::vector<MisplacedElement> found;
  add_misplaced(found, 'A', shape.a, shape.a_values, lanes);
  add_misplaced(found, 'B', shape.b, shape.b_values, lanes);
  return found;
}

MatrixPlace place_of_value(KilnSimtMatrix kind, unsigned lane, int i) {
  return instruction_of(kind).c(static_cast<int>(lane), i);
}

}  // namespace kiln
