// SPDX-License-Identifier: Apache-2.0
// Matrix instructions with small integers, which are exact in each type: every lane takes its
// elements by the vendor's document, and the product must come out.
#include <numeric>

#include "tests/runtime/simt/machine.h"

namespace kiln {
namespace {

using test::dims;
using test::kernel_text;

struct MatrixCase {
  std::string name;
  int rows, columns, depth;
  const char* arch;
  std::string kernel;  // in: A by rows, B by rows, C by rows; out: D by rows
};

class SimtMatrix : public test::MachineTest, public testing::WithParamInterface<MatrixCase> {
 protected:
  static std::vector<int> inputs(const MatrixCase& one) {
    std::vector<int> in(static_cast<std::size_t>(one.rows * one.depth + one.depth * one.columns +
                                                 one.rows * one.columns));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i * 7 % 31) - 15;
    return in;
  }
  static std::vector<int> product(const MatrixCase& one, const std::vector<int>& in) {
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

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", word for word.
std::string mma(const std::string& type, const std::string& a_row_of_third) {
  return kernel_text(R"(
  const int group = t / 4, member = t % 4;
  MmaA a; MmaB b; MmaC c;
  float va[8], vb[4];
  for (int i = 0; i < 8; ++i) {
    const int row = )" +
                     a_row_of_third + R"( ? group : group + 8;
    const int column = i < 4 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
    va[i] = static_cast<float>(in.load(row * 16 + column));
  }
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
    vb[i] = static_cast<float>(in.load(16 * 16 + row * 8 + group));
  }
  for (int i = 0; i < 4; ++i) a.words[i] = pack2<)" +
                     type + R"(>(va[2 * i], va[2 * i + 1]);
  for (int i = 0; i < 2; ++i) b.words[i] = pack2<)" +
                     type + R"(>(vb[2 * i], vb[2 * i + 1]);
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? group : group + 8;
    c.values[i] = static_cast<float>(in.load(16 * 16 + 16 * 8 + row * 8 + member * 2 + (i & 1)));
  }
  const MmaC d = mma_m16n8k16<)" +
                     type + R"(>(a, b, c);
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? group : group + 8;
    out.store(row * 8 + member * 2 + (i & 1), static_cast<int>(d.values[i]));
  }
)");
}
const std::string kRightRows = "(0 <= i && i < 2) || (4 <= i && i < 6)";

// AMD's matrix instruction calculator for v_mfma_f32_16x16x16_bf16 and v_mfma_f32_32x32x8_bf16:
// A[i][k]: lane i + size (k / 4), element k % 4; B[k][j]: lane j + size (k / 4), element k % 4;
// D[i][j]: lane j + size ((i / 4) % (64 / size)), register 4 (i / (256 / size)) + i % 4.
std::string mfma(int size, int depth, int registers, const std::string& call) {
  const std::string s = std::to_string(size);
  const std::string k = std::to_string(depth);
  const std::string n = std::to_string(registers);
  return kernel_text(R"(
  MfmaAB a = {}, b = {};
  MfmaC<)" + n + R"(> c = {};
  for (int i = 0; i < )" +
                     s + R"(; ++i) {
    for (int k = 0; k < )" +
                     k + R"(; ++k) {
      if (i + )" + s +
                     R"( * (k / 4) != t) continue;
      a.values[k % 4] = from_float<bf16>(static_cast<float>(in.load(i * )" +
                     k + R"( + k)));
      b.values[k % 4] =
          from_float<bf16>(static_cast<float>(in.load()" +
                     s + " * " + k + " + k * " + s + R"( + i)));
    }
  }
  const int first = 2 * )" +
                     s + " * " + k + R"(;
  for (int i = 0; i < )" +
                     s + R"(; ++i) {
    for (int j = 0; j < )" +
                     s + R"(; ++j) {
      const int lane_of = j + )" +
                     s + " * (i / 4 % (64 / " + s + "));" + R"(
      const int own = 4 * (i / (256 / )" +
                     s + R"()) + i % 4;
      if (lane_of == t) c.values[own] = static_cast<float>(in.load(first + i * )" +
                     s + R"( + j));
    }
  }
  const MfmaC<)" + n +
                     "> d = " + call + R"((a, b, c);
  for (int i = 0; i < )" +
                     s + R"(; ++i) {
    for (int j = 0; j < )" +
                     s + R"(; ++j) {
      const int lane_of = j + )" +
                     s + " * (i / 4 % (64 / " + s + "));" + R"(
      const int own = 4 * (i / (256 / )" +
                     s + R"()) + i % 4;
      if (lane_of == t) out.store(i * )" +
                     s + R"( + j, static_cast<int>(d.values[own]));
    }
  }
)");
}

const std::vector<MatrixCase> kCases = {
    {"mma_bf16", 16, 8, 16, "simt:checked", mma("bf16", kRightRows)},
    {"mma_f16", 16, 8, 16, "simt", mma("f16", kRightRows)},
    {"mfma_16", 16, 16, 16, "simt:warp64:checked", mfma(16, 16, 4, "mfma_16x16x16")},
    {"mfma_32", 32, 32, 8, "simt:warp64", mfma(32, 8, 16, "mfma_32x32x8")},
};

TEST_P(SimtMatrix, MultipliesByTheDocumentedLaneMap) {
  const MatrixCase& one = GetParam();
  const std::vector<int> in = inputs(one);
  const std::uint32_t lanes = std::string(one.arch).find("warp64") != std::string::npos ? 64 : 32;
  expect_result(one.kernel, dims(1, lanes), product(one, in), in, one.arch);
}
INSTANTIATE_TEST_SUITE_P(All, SimtMatrix, testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

using SimtWrongMatrix = SimtMatrix;
TEST_P(SimtWrongMatrix, AKernelWithAnotherLaneMapGetsAnotherProduct) {
  MatrixCase one = GetParam();
  one.kernel = mma("bf16", "i < 4");  // halves of A's rows and columns exchanged
  const std::vector<int> in = inputs(one);
  std::vector<int> out(static_cast<std::size_t>(one.rows * one.columns));
  ASSERT_TRUE(machine().run(one.kernel, dims(1, 32), out, in, one.arch));
  EXPECT_NE(out, product(one, in));
}
INSTANTIATE_TEST_SUITE_P(Mma, SimtWrongMatrix, testing::Values(kCases[0]),
                         [](const auto& one) { return one.param.name; });

// PTX ISA, ldmatrix: thread l gets row l / 4, columns 2 (l % 4) and the next, of each matrix.
TEST_F(SimtMatrix, LoadsMatricesByTheDocumentedLaneMap) {
  for (const bool transpose : {false, true}) {
    const std::string text = kernel_text(std::string(R"(
  KILN_SHARED(bf16, tile, 4 * 64);
  for (int i = t; i < 4 * 64; i += 32) tile[i] = bf16{static_cast<u16>(i)};
  block_barrier();
  u32 words[4];
  load_matrix<4, Transpose::)") + (transpose ? "yes" : "no") +
                                         R"(>(words, tile, 8 * t);
  for (int m = 0; m < 4; ++m) {
    out.store((t * 4 + m) * 2, static_cast<int>(words[m] & 0xffffu));
    out.store((t * 4 + m) * 2 + 1, static_cast<int>(words[m] >> 16));
  }
)");
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
    expect_result(text, dims(1, 32), expected);
  }
}

}  // namespace
}  // namespace kiln
