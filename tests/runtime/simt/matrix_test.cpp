// SPDX-License-Identifier: Apache-2.0
// Matrix instructions with small integers, which are exact in each type: every lane takes its
// elements by the vendor's document, and the product must come out. Other lane maps: lane_map_test.
#include <fmt/format.h>

#include <numeric>

#include "tests/runtime/simt/machine.h"

namespace kiln {
namespace {

using test::dims;
using test::kernel_text;

struct Sizes {
  int rows, columns, depth;
};

struct MatrixCase {
  std::string name;
  Sizes sizes;
  const char* arch;
  std::string kernel;  // in: A by rows, B by rows, C by rows; out: D by rows
};
// What CTest lists instead of the bytes.
void PrintTo(const MatrixCase& one, std::ostream* out) {
  *out << one.name;
}

std::uint32_t lanes_of(const std::string& arch) {
  return arch.find("warp64") != std::string::npos ? 64 : 32;
}

class SimtMatrix : public test::MachineTest, public testing::WithParamInterface<MatrixCase> {
 protected:
  static std::vector<int> inputs(const Sizes& one) {
    std::vector<int> in(static_cast<std::size_t>(one.rows * one.depth + one.depth * one.columns +
                                                 one.rows * one.columns));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i * 7 % 31) - 15;
    return in;
  }
  static std::vector<int> product(const Sizes& one, const std::vector<int>& in) {
    const int* a = in.data();
    const int* b = a + one.rows * one.depth;
    const int* c = b + one.depth * one.columns;
    std::vector<int> d(static_cast<std::size_t>(one.rows * one.columns));
    for (int r = 0; r < one.rows; ++r) {
      for (int n = 0; n < one.columns; ++n) {
        int sum = c[r * one.columns + n];
        for (int k = 0; k < one.depth; ++k) sum += a[r * one.depth + k] * b[k * one.columns + n];
        d[static_cast<std::size_t>(r * one.columns + n)] = sum;
      }
    }
    return d;
  }
};

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", word for word.
std::string mma(const std::string& type) {
  std::string text = kernel_text(R"(
  const int group = t / 4, member = t % 4;
  const auto element = [&](int first, int width, int row, int column) {
    const float value = static_cast<float>(in.load(first + row * width + column));
    return matrix_element(from_float<TYPE>(value), row, column);
  };
  MatrixElement ea[8], eb[4];
  for (int i = 0; i < 8; ++i) {
    const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
    const int column = i < 4 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
    ea[i] = element(0, 16, row, column);
  }
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
    eb[i] = element(16 * 16, 8, row, group);
  }
  MmaA a; MmaB b; MmaC c;
  for (int i = 0; i < 4; ++i) a.words[i] = matrix_word(ea[2 * i], ea[2 * i + 1]);
  for (int i = 0; i < 2; ++i) b.words[i] = matrix_word(eb[2 * i], eb[2 * i + 1]);
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? group : group + 8, column = member * 2 + (i & 1);
    c.at(i, row, column) = static_cast<float>(in.load(16 * 16 + 16 * 8 + row * 8 + column));
  }
  MmaC d = mma_m16n8k16<TYPE>(a, b, c);
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? group : group + 8, column = member * 2 + (i & 1);
    out.store(row * 8 + column, static_cast<int>(d.at(i, row, column)));
  }
)");
  replace_all(text, "TYPE", type);
  return text;
}

// AMD's matrix instruction calculator for v_mfma_f32_16x16x16_bf16 and v_mfma_f32_32x32x8_bf16:
// A[i][k]: lane i + size (k / 4), element k % 4; B[k][j]: lane j + size (k / 4), element k % 4;
// D[i][j]: lane j + size ((i / 4) % (64 / size)), register 4 (i / (256 / size)) + i % 4.
std::string mfma(int size, const std::string& call) {
  std::string text = kernel_text(R"(
  constexpr int S = SIZE, K = 256 / S;
  MatrixElement ea[4], eb[4];
  for (int i = 0; i < S; ++i) {
    for (int k = 0; k < K; ++k) {
      if (i + S * (k / 4) != t) continue;
      const float va = static_cast<float>(in.load(i * K + k));
      const float vb = static_cast<float>(in.load(S * K + k * S + i));
      ea[k % 4] = matrix_element(from_float<bf16>(va), i, k);
      eb[k % 4] = matrix_element(from_float<bf16>(vb), k, i);
    }
  }
  MfmaA<S> a; MfmaB<S> b; MfmaC<S> c = {};
  for (int i = 0; i < 2; ++i) {
    a.words[i] = matrix_word(ea[2 * i], ea[2 * i + 1]);
    b.words[i] = matrix_word(eb[2 * i], eb[2 * i + 1]);
  }
  const auto each = [&](auto use) {
    for (int i = 0; i < S; ++i) {
      for (int j = 0; j < S; ++j) {
        if (j + S * (i / 4 % (64 / S)) == t) use(4 * (i / (256 / S)) + i % 4, i, j);
      }
    }
  };
  each([&](int own, int i, int j) {
    c.at(own, i, j) = static_cast<float>(in.load(2 * S * K + i * S + j));
  });
  MfmaC<S> d = CALL(a, b, c);
  each([&](int own, int i, int j) { out.store(i * S + j, static_cast<int>(d.at(own, i, j))); });
)");
  replace_all(text, "SIZE", std::to_string(size));
  replace_all(text, "CALL", call);
  return text;
}

const std::vector<MatrixCase> kCases = {
    {"mma_bf16", {16, 8, 16}, "simt", mma("bf16")},
    {"mma_f16", {16, 8, 16}, "simt", mma("f16")},
    {"mfma_16", {16, 16, 16}, "simt:warp64", mfma(16, "mfma_16x16x16")},
    {"mfma_32", {32, 32, 8}, "simt:warp64", mfma(32, "mfma_32x32x8")},
};

TEST_P(SimtMatrix, MultipliesByTheDocumentedLaneMap) {
  const MatrixCase& one = GetParam();
  const std::vector<int> in = inputs(one.sizes);
  for (const std::string mode : {"", ":checked"}) {
    expect_result(one.kernel, dims(1, lanes_of(one.arch)), product(one.sizes, in), in,
                  one.arch + mode);
  }
}
INSTANTIATE_TEST_SUITE_P(All, SimtMatrix, testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

// row(i) and column(i) of the fragments say the same as the documents.
const std::vector<MatrixCase> kAskingCases = [] {
  const auto kernel = [](const std::string& types, const std::string& call) {
    return kernel_text(R"(
  )" + types + R"(
  const auto bits = [&](int first, int at) {
    return from_float<bf16>(static_cast<float>(in.load(first + at)));
  };
  A a; B b; C c;
  for (int i = 0; i < static_cast<int>(sizeof a.words / sizeof a.words[0]); ++i) {
    const int r = A::row(i), k = A::column(i);
    a.words[i] = matrix_word(matrix_element(bits(0, r * K + k), r, k),
                             matrix_element(bits(0, r * K + k + 1), r, k + 1));
  }
  for (int i = 0; i < static_cast<int>(sizeof b.words / sizeof b.words[0]); ++i) {
    const int k = B::row(i), n = B::column(i);
    b.words[i] = matrix_word(matrix_element(bits(M * K, k * N + n), k, n),
                             matrix_element(bits(M * K, (k + 1) * N + n), k + 1, n));
  }
  const int values = static_cast<int>(sizeof c.values / sizeof c.values[0]);
  for (int i = 0; i < values; ++i) {
    c.values[i] = static_cast<float>(in.load(M * K + K * N + C::row(i) * N + C::column(i)));
  }
  const C d = )" + call +
                       R"((a, b, c);
  for (int i = 0; i < values; ++i) {
    out.store(C::row(i) * N + C::column(i), static_cast<int>(d.values[i]));
  }
)");
  };
  const auto wide = [&](int size, const std::string& call) {
    return kernel(
        fmt::format("constexpr int M = {0}, N = {0}, K = 256 / {0}; using A = MfmaA<{0}>; "
                    "using B = MfmaB<{0}>; using C = MfmaC<{0}>;",
                    size),
        call);
  };
  return std::vector<MatrixCase>{
      {"mma",
       {16, 8, 16},
       "simt:checked",
       kernel("constexpr int M = 16, N = 8, K = 16; using A = MmaA; using B = MmaB; using C = "
              "MmaC;",
              "mma_m16n8k16<bf16>")},
      {"mfma_16", {16, 16, 16}, "simt:warp64:checked", wide(16, "mfma_16x16x16")},
      {"mfma_32", {32, 32, 8}, "simt:warp64:checked", wide(32, "mfma_32x32x8")},
  };
}();

using SimtAskedMatrix = SimtMatrix;
TEST_P(SimtAskedMatrix, FragmentsKnowTheirRowsAndColumns) {
  const MatrixCase& one = GetParam();
  const std::vector<int> in = inputs(one.sizes);
  expect_result(one.kernel, dims(1, lanes_of(one.arch)), product(one.sizes, in), in, one.arch);
}
INSTANTIATE_TEST_SUITE_P(All, SimtAskedMatrix, testing::ValuesIn(kAskingCases),
                         [](const auto& one) { return one.param.name; });

// PTX ISA, ldmatrix: thread l gets row l / 4, columns 2 (l % 4) and the next, of each matrix.
TEST_F(SimtMatrix, LoadsMatricesByTheDocumentedLaneMap) {
  for (const bool transpose : {false, true}) {
    const std::string text = kernel_text(fmt::format(R"(
  KILN_SHARED(bf16, cells, 4 * 64);
  for (int i = t; i < 4 * 64; i += 32) cells[i] = bf16{{static_cast<u16>(i)}};
  block_barrier();
  const MatrixTile tile(cells, RowMajor{{8}});
  MatrixWord words[4];
  load_matrix<4, Transpose::{}>(words, tile, t, 0);
  for (int m = 0; m < 4; ++m) {{
    out.store((t * 4 + m) * 2, static_cast<int>(words[m].bits & 0xffffu));
    out.store((t * 4 + m) * 2 + 1, static_cast<int>(words[m].bits >> 16));
  }}
)",
                                                     transpose ? "yes" : "no"));
    std::vector<int> expected;
    for (int l = 0; l < 32; ++l) {
      for (int m = 0; m < 4; ++m) {
        for (int half = 0; half < 2; ++half) {
          const int row = l / 4;
          const int column = l % 4 * 2 + half;
          expected.push_back(m * 64 + (transpose ? column * 8 + row : row * 8 + column));
        }
      }
    }
    for (const char* arch : {"simt", "simt:checked"}) {
      expect_result(text, dims(1, 32), expected, {}, arch);
    }
  }
}

}  // namespace
}  // namespace kiln
