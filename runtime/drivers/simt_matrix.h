// SPDX-License-Identifier: Apache-2.0
// Matrix instructions as the vendors document them: from each lane's registers to each lane's
// registers. Products are exact and sums are rounded to float once. And which lane must hold what.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "templates/device/kiln/simt_abi.h"

namespace kiln {

// "mma_m16n8k16"
std::string_view name_of(KilnSimtMatrix kind);

// D = A B + C over all lanes of a warp: 32 for mma, 64 for mfma.
void multiply_matrices(KilnSimtMatrix kind, std::span<const KilnSimtMatrixOperands> lanes);

// ldmatrix: lane l gave row l % 8 of matrix l / 8 and gets a word of each of `count` matrices.
void load_matrices(std::span<const KilnSimtMatrixLoad> lanes);

struct MatrixPlace {
  int row;
  int column;
  auto operator<=>(const MatrixPlace&) const = default;
};

// An element of A or B in a lane that holds another one.
struct MisplacedElement {
  unsigned lane;
  char operand;  // 'A' or 'B'
  int value;     // the lane's how manieth element of it
  MatrixPlace expected;
  const KilnSimtOrigin* actual;  // without a site: the kernel did not say what it is
};
// A and B may be parts of larger matrices that begin anywhere: where most of the elements would
// have it. Zeros without an origin are right in any place. The lanes have origins.
std::vector<MisplacedElement> misplaced_elements(KilnSimtMatrix kind,
                                                 std::span<const KilnSimtMatrixOperands> lanes);

// Which element of D value `i` of a lane is.
MatrixPlace place_of_value(KilnSimtMatrix kind, unsigned lane, int i);

// The number that bf16 or f16 bits stand for.
float float_of_bf16_bits(std::uint16_t bits);
float float_of_f16_bits(std::uint16_t bits);

}  // namespace kiln
