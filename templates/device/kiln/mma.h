// SPDX-License-Identifier: Apache-2.0
// Matrix instructions of a warp: D = A B + C with 16-bit A and B, float C and D. Which element each
// lane holds is part of each instruction's contract, written above it; (row, column) counts in the
// whole matrix, l is the lane.
#pragma once

#include "kiln/convert.h"
#include "kiln/shared.h"

namespace kiln {

#if KILN_DIALECT_CUDA || (KILN_DIALECT_SIMT && KILN_WARP_SIZE == 32)

// m16n8k16, A 16x16 by rows, B 16x8 by columns, C 16x8. With g = l / 4 and t = l % 4:
//   A word i, half h: row g + 8 (i % 2), column 2 t + h + 8 (i / 2)
//   B word i, half h: row 2 t + h + 8 i, column g
//   C value i:        row g + 8 (i / 2), column 2 t + i % 2
struct MmaA {
  u32 words[4];
};
struct MmaB {
  u32 words[2];
};
struct MmaC {
  float values[4];
};

template <class T>
KILN_DEVICE MmaC mma_m16n8k16(const MmaA& a, const MmaB& b, const MmaC& c, Site = {}) {
  static_assert(is_same<T, bf16> || is_same<T, f16>, "mma_m16n8k16 multiplies bf16 or f16");
  MmaC d;
#if KILN_DIALECT_SIMT
  dialect::matrix(is_same<T, bf16> ? kKilnSimtMmaBf16 : kKilnSimtMmaF16, &a, &b, c.values,
                  d.values);
#else
  if constexpr (is_same<T, bf16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d.values[0]), "=f"(d.values[1]), "=f"(d.values[2]), "=f"(d.values[3])
        : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]),
          "r"(b.words[1]), "f"(c.values[0]), "f"(c.values[1]), "f"(c.values[2]), "f"(c.values[3]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d.values[0]), "=f"(d.values[1]), "=f"(d.values[2]), "=f"(d.values[3])
        : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]),
          "r"(b.words[1]), "f"(c.values[0]), "f"(c.values[1]), "f"(c.values[2]), "f"(c.values[3]));
  }
#endif
  return d;
}

enum class Transpose { no, yes };

// ldmatrix: `count` 8x8 matrices of 16-bit elements (1, 2 or 4). Lane l gives in `i` where row
// l % 8 of matrix l / 8 begins (8 elements, 16-byte aligned; lanes from 8 * count on are ignored).
// Word m of lane l is then row l / 4, columns 2 (l % 4) and 2 (l % 4) + 1 of matrix m; with
// Transpose::yes of its transpose.
template <int count, Transpose transpose = Transpose::no, class T>
KILN_DEVICE void load_matrix(u32 (&words)[count], const Shared<T>& shared, Index i, Site = {}) {
  static_assert(sizeof(T) == 2, "matrices of 16-bit elements");
  static_assert(count == 1 || count == 2 || count == 4, "1, 2 or 4 matrices");
#if KILN_DIALECT_SIMT
  dialect::load_matrix<count>(words, shared, i, transpose == Transpose::yes);
#else
  const u32 row = dialect::shared_address(shared.raw(i));
  constexpr bool flip = transpose == Transpose::yes;
  if constexpr (count == 4 && !flip) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(row)
                 : "memory");
  } else if constexpr (count == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(row)
                 : "memory");
  } else if constexpr (count == 2 && !flip) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(row)
                 : "memory");
  } else if constexpr (count == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(row)
                 : "memory");
  } else if constexpr (!flip) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(words[0])
                 : "r"(row)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(words[0])
                 : "r"(row)
                 : "memory");
  }
#endif
}

#endif

#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__) || \
    (KILN_DIALECT_SIMT && KILN_WARP_SIZE == 64)

// 4 bf16 of one lane.
struct MfmaAB {
  bf16 values[4];
};
template <int count>
struct MfmaC {
  float values[count];
};

namespace mma_detail {
typedef short Short4 __attribute__((ext_vector_type(4)));
typedef float Float4 __attribute__((ext_vector_type(4)));
typedef float Float16 __attribute__((ext_vector_type(16)));
}  // namespace mma_detail

// 16x16x16, 64 lanes:
//   A value i: row l % 16, column 4 (l / 16) + i
//   B value i: row 4 (l / 16) + i, column l % 16
//   C value i: row 4 (l / 16) + i, column l % 16
KILN_DEVICE MfmaC<4> mfma_16x16x16(const MfmaAB& a, const MfmaAB& b, const MfmaC<4>& c, Site = {}) {
#if KILN_DIALECT_SIMT
  MfmaC<4> d;
  dialect::matrix(kKilnSimtMfma16Bf16, &a, &b, c.values, d.values);
  return d;
#else
  return bit_cast<MfmaC<4> >(__builtin_amdgcn_mfma_f32_16x16x16bf16_1k(
      bit_cast<mma_detail::Short4>(a), bit_cast<mma_detail::Short4>(b),
      bit_cast<mma_detail::Float4>(c), 0, 0, 0));
#endif
}

// 32x32x8, 64 lanes:
//   A value i: row l % 32, column 4 (l / 32) + i
//   B value i: row 4 (l / 32) + i, column l % 32
//   C value i: row 8 (i / 4) + 4 (l / 32) + i % 4, column l % 32
KILN_DEVICE MfmaC<16> mfma_32x32x8(const MfmaAB& a, const MfmaAB& b, const MfmaC<16>& c,
                                   Site = {}) {
#if KILN_DIALECT_SIMT
  MfmaC<16> d;
  dialect::matrix(kKilnSimtMfma32Bf16, &a, &b, c.values, d.values);
  return d;
#else
  return bit_cast<MfmaC<16> >(__builtin_amdgcn_mfma_f32_32x32x8bf16_1k(
      bit_cast<mma_detail::Short4>(a), bit_cast<mma_detail::Short4>(b),
      bit_cast<mma_detail::Float16>(c), 0, 0, 0));
#endif
}

#endif

}  // namespace kiln
