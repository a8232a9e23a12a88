// SPDX-License-Identifier: Apache-2.0
// Matrix instructions as the vendors document them: from each lane's registers to each lane's
// registers. Products are exact and sums are rounded to float once.
#pragma once

#include <cstdint>
#include <span>

#include "templates/device/kiln/simt_abi.h"

namespace kiln {

// One lane's registers: A, B and C as in kiln/mma.h; D is written.
struct MatrixLane {
  const void* a;
  const void* b;
  const float* c;
  float* d;
};

// D = A B + C over all lanes of a warp: 32 for mma, 64 for mfma.
void multiply_matrices(KilnSimtMatrix kind, std::span<const MatrixLane> lanes);

// ldmatrix: lane l gave row l % 8 of matrix l / 8 and gets a word of each of `count` matrices.
struct MatrixRow {
  const void* row;  // 8 elements of 16 bits
  std::uint32_t* words;
};
void load_matrices(int count, bool transpose, std::span<const MatrixRow> lanes);

// The number that bf16 or f16 bits stand for.
float float_of_bf16_bits(std::uint16_t bits);
float float_of_f16_bits(std::uint16_t bits);

}  // namespace kiln
