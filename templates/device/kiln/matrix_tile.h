// SPDX-License-Identifier: Apache-2.0
// 16-bit elements on their way from a matrix into a matrix instruction (kiln/mma.h). Each is named
// by its row and column, so that the checked mode of the SIMT dialect sees whether every lane holds
// what the instruction takes from it; on a GPU nothing is left of that.
//
//   const MatrixTile k(k_cells, RowMajor{72});          keys by rows
//   MatrixWord words[4];
//   load_matrix<4>(words, k.transposed(), depth, key);  as B takes them: rows count the depth
#pragma once

#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/shared.h"

namespace kiln {

// Which way elements go that lie side by side.
enum class Run { along_row, along_column };

// Where element (row, column) lies. A kernel may have a layout of its own (with a swizzle), as long
// as 8 elements from a multiple of 8 on lie side by side along its run.
struct RowMajor {
  int stride;  // elements from row to row
  static constexpr Run run = Run::along_row;
  KILN_DEVICE int operator()(int row, int column) const { return row * stride + column; }
};
template <class Layout>
struct TransposedLayout {
  Layout of;
  static constexpr Run run = Layout::run == Run::along_row ? Run::along_column : Run::along_row;
  KILN_DEVICE int operator()(int row, int column) const { return of(column, row); }
};

// Made by the functions below. A default-constructed one is zero, and right in any place.
struct MatrixElement {
  u16 bits = 0;
#if KILN_CHECKED
  KilnSimtOrigin origin = {};
#endif
};
// Two elements: the first one in the low half.
struct MatrixWord {
  u32 bits = 0;
#if KILN_CHECKED
  KilnSimtOrigin origins[2] = {};
#endif
};

KILN_DEVICE MatrixWord matrix_word(const MatrixElement& low, const MatrixElement& high) {
#if KILN_CHECKED
  return {low.bits | static_cast<u32>(high.bits) << 16, {low.origin, high.origin}};
#else
  return {low.bits | static_cast<u32>(high.bits) << 16};
#endif
}

namespace matrix_detail {
// An index that the checked mode reports at the line that the caller's Site has left.
KILN_DEVICE Index index_of_site(int i) {
#if KILN_CHECKED
  return Index(i, dialect::self()->site.file, dialect::self()->site.line);
#else
  return i;
#endif
}

// Words of 2N elements that begin at (row, column).
template <Run run, int N>
KILN_DEVICE void name_elements(MatrixWord (&words)[N], const char* array, int row, int column) {
#if KILN_CHECKED
  for (int i = 0; i < 2 * N; ++i) {
    words[i / 2].origins[i % 2] = {array, row + (run == Run::along_column ? i : 0),
                                   column + (run == Run::along_row ? i : 0), dialect::self()->site};
  }
#else
  (void)words, (void)array, (void)row, (void)column;
#endif
}
}  // namespace matrix_detail

// A value that is no element of a tile (computed, or from global memory), and where in its matrix
// it stands.
template <class T>
KILN_DEVICE MatrixElement matrix_element(T value, int row, int column, Site = {}) {
  static_assert(sizeof(T) == 2, "elements of 16 bits");
#if KILN_CHECKED
  return {value.bits, {nullptr, row, column, dialect::self()->site}};
#else
  (void)row, (void)column;
  return {value.bits};
#endif
}
// Two of them, the first at (row, column) and the other after it along `run`.
template <class T, Run run = Run::along_row>
KILN_DEVICE MatrixWord matrix_word(float low, float high, int row, int column, Site = {}) {
  MatrixWord words[1];
  words[0].bits = pack2<T>(low, high);
  matrix_detail::name_elements<run>(words, nullptr, row, column);
  return words[0];
}

// Two elements side by side in `bits`, the first at (row, column) and the other after it along
// `run`.
template <Run run = Run::along_row>
KILN_DEVICE MatrixWord matrix_word_of(u32 bits, int row, int column, Site = {}) {
  MatrixWord words[1];
  words[0].bits = bits;
  matrix_detail::name_elements<run>(words, nullptr, row, column);
  return words[0];
}

// A matrix in shared memory.
template <class T, class Layout>
class MatrixTile {
  static_assert(sizeof(T) == 2, "matrices of 16-bit elements");

 public:
  static constexpr Run run = Layout::run;

  KILN_DEVICE MatrixTile(const Shared<T>& cells, Layout layout) : cells_(cells), layout_(layout) {}
  // The same cells with rows and columns exchanged.
  KILN_DEVICE MatrixTile<T, TransposedLayout<Layout>> transposed() const {
    return {cells_, TransposedLayout<Layout>{layout_}};
  }

  KILN_DEVICE MatrixElement element(int row, int column, Site = {}) const {
    const T value = cells_.load(matrix_detail::index_of_site(layout_(row, column)));
#if KILN_CHECKED
    return {value.bits, {array(), row, column, dialect::self()->site}};
#else
    return {value.bits};
#endif
  }
  // 2N elements from (row, column) on along the run, as one access aligned to its 4N bytes.
  template <int N>
  KILN_DEVICE void load(MatrixWord (&words)[N], int row, int column, Site = {}) const {
    const auto values =
        cells_.template load_vector<2 * N>(matrix_detail::index_of_site(layout_(row, column)));
#pragma unroll
    for (int i = 0; i < N; ++i) {
      words[i].bits = values[2 * i].bits | static_cast<u32>(values[2 * i + 1].bits) << 16;
    }
    matrix_detail::name_elements<run>(words, array(), row, column);
  }
  KILN_DEVICE MatrixWord word(int row, int column, Site site = {}) const {
    MatrixWord words[1];
    load(words, row, column, site);
    return words[0];
  }

  // For the dialect layer.
  KILN_DEVICE const Shared<T>& cells() const {
    return cells_;
  }
  KILN_DEVICE int offset(int row, int column) const {
    return layout_(row, column);
  }
  KILN_DEVICE const char* array() const {
#if KILN_CHECKED
    return cells_.name();
#else
    return nullptr;
#endif
  }

 private:
  Shared<T> cells_;
  Layout layout_;
};

#if KILN_DIALECT_CUDA || (KILN_DIALECT_SIMT && KILN_WARP_SIZE == 32)

enum class Transpose { no, yes };

// ldmatrix: `count` 8x8 matrices (1, 2 or 4). Lane l gives in (row, column) where row l % 8 of
// matrix l / 8 begins: 8 elements along the tile's run, 16-byte aligned; lanes from 8 * count on
// are ignored. Word m of lane l is then row l / 4, elements 2 (l % 4) and 2 (l % 4) + 1 of matrix
// m; with Transpose::yes of its transpose.
template <int count, Transpose transpose = Transpose::no, class T, class Layout>
KILN_DEVICE void load_matrix(MatrixWord (&words)[count], const MatrixTile<T, Layout>& tile, int row,
                             int column, Site = {}) {
  static_assert(count == 1 || count == 2 || count == 4, "1, 2 or 4 matrices");
  constexpr bool flip = transpose == Transpose::yes;
#if KILN_DIALECT_SIMT
  MatrixWord own[4];  // the row that this lane gives
  if (dialect::own_lane() < 8 * count) {
    const auto values = tile.cells().template load_vector<8>(
        matrix_detail::index_of_site(tile.offset(row, column)));
    for (int i = 0; i < 8; ++i) own[i / 2].bits |= static_cast<u32>(values[i].bits) << i % 2 * 16;
    matrix_detail::name_elements<Layout::run>(own, tile.array(), row, column);
  }
  dialect::load_matrix(flip, own, words);
#else
  dialect::load_matrix<flip>(words,
                             dialect::shared_address(tile.cells().raw(tile.offset(row, column))));
#endif
}

// movmatrix: of an 8x8 matrix of 16-bit elements a lane holds two, 2 (l % 4) and 2 (l % 4) + 1 of
// row l / 4 in lane l; of its transpose it gets the same two.
KILN_DEVICE u32 transpose_8x8(u32 bits, Site = {}) {
#if KILN_DIALECT_SIMT
  const int own = dialect::own_lane();
  u32 result = 0;
  for (int i = 0; i < 2; ++i) {
    const u32 word = dialect::shuffle_idx(all_lanes, bits, (own % 4 * 2 + i) * 4 + own / 8, 32);
    result |= (word >> own / 4 % 2 * 16 & 0xffffu) << i * 16;
  }
  return result;
#else
  return dialect::transpose_8x8(bits);
#endif
}

#endif

}  // namespace kiln
