// SPDX-License-Identifier: Apache-2.0
// Kernels that load the operands of matrix instructions as real ones do; with a wrong lane map
// they are found, at the lines that load and multiply.
#include <fmt/format.h>

#include <array>

#include "tests/runtime/simt/machine.h"

namespace kiln {
namespace {

using test::dims;
using test::kernel_text;

// As attention does it: S = Q K', then S V, with Q and K by rows, V transposed on the way, and the
// first product's values as the second one's A. The tiles are parts of larger ones.
struct Attention {
  std::string load_q = "load_matrix<4>(a.words, q, 16 + l % 16, 8 + l / 16 * 8);  // Q";
  std::string load_k =
      "load_matrix<2>(b.words, k.transposed(), l / 8 % 2 * 8, 8 * n + l % 8);  // K";
  std::string load_v = "load_matrix<2, Transpose::yes>(b.words, v, l % 16, 8 * n);  // V";
  std::string again = R"(weights.words[2 * n + h] = matrix_word<bf16>(
            s.values[2 * h], s.values[2 * h + 1], s.row(2 * h), 8 * n + s.column(2 * h));  // P)";
  std::string read = "d.at(i, l / 4 + i / 2 * 8, l % 4 * 2 + i % 2)";

  std::string text() const {
    return kernel_text(R"(
  KILN_SHARED(bf16, q_cells, 32 * 32);
  KILN_SHARED(bf16, k_cells, 16 * 24);
  KILN_SHARED(bf16, v_cells, 16 * 24);
  for (int i = t; i < 32 * 32; i += 32) {
    q_cells[i] = from_float<bf16>(static_cast<float>(i * 7 % 5 - 2));
    if (i < 16 * 24) k_cells[i] = from_float<bf16>(static_cast<float>(i * 5 % 7 - 3));
    if (i < 16 * 24) v_cells[i] = from_float<bf16>(static_cast<float>(i * 3 % 11 - 5));
  }
  block_barrier();
  const MatrixTile q(q_cells, RowMajor{32}), k(k_cells, RowMajor{24}), v(v_cells, RowMajor{24});
  const int l = t;
  MmaA a, weights;
  MmaB b;
  )" + load_q + R"(
  for (int n = 0; n < 2; ++n) {
    )" + load_k + R"(
    const MmaC s = mma_m16n8k16<bf16>(a, b, MmaC{});  // S
    for (int h = 0; h < 2; ++h) {
      )" + again + R"(
    }
  }
  for (int n = 0; n < 2; ++n) {
    )" + load_v + R"(
    MmaC d = mma_m16n8k16<bf16>(weights, b, MmaC{});  // D
    for (int i = 0; i < 4; ++i) {
      out.store((l / 4 + i / 2 * 8) * 16 + 8 * n + l % 4 * 2 + i % 2,
                static_cast<int>()" +
                       read + R"());  // OUT
    }
  }
)");
  }

  static std::vector<int> expected() {
    std::vector<int> out;
    for (int row = 0; row < 16; ++row) {
      std::array<int, 16> s{};
      for (int key = 0; key < 16; ++key) {
        for (int i = 0; i < 16; ++i) {
          s[static_cast<std::size_t>(key)] +=
              (((16 + row) * 32 + 8 + i) * 7 % 5 - 2) * ((key * 24 + i) * 5 % 7 - 3);
        }
      }
      for (int column = 0; column < 16; ++column) {
        int sum = 0;
        for (int key = 0; key < 16; ++key) {
          sum += s[static_cast<std::size_t>(key)] * ((key * 24 + column) * 3 % 11 - 5);
        }
        out.push_back(sum);
      }
    }
    return out;
  }
};

class SimtLaneMap : public test::MachineTest {};

TEST_F(SimtLaneMap, TwoProductsAsInAttention) {
  for (const char* arch : {"simt", "simt:checked"}) {
    expect_result(Attention{}.text(), dims(1, 32), Attention::expected(), {}, arch);
  }
}

class SimtWrongLaneMap : public SimtLaneMap {
 protected:
  // In the checked mode it is found at these lines; in the other it gives a wrong product.
  static void expect_wrong(const Attention& kernel, const std::vector<std::string>& marks) {
    expect_finding(kernel.text(), dims(1, 32), "wrong lane map", marks, 256);
    std::vector<int> out(256, 0);
    ASSERT_TRUE(machine().run(kernel.text(), dims(1, 32), out, {}, "simt"));
    EXPECT_NE(out, Attention::expected());
  }
};

TEST_F(SimtWrongLaneMap, MatricesLoadedInAnotherOrder) {
  Attention kernel;  // the upper right before the lower left
  kernel.load_q = "load_matrix<4>(a.words, q, 16 + l % 8 + l / 16 * 8, 8 + l / 8 % 2 * 8);  // Q";
  expect_wrong(kernel, {"Q", "S"});
  kernel = {};
  kernel.load_k =
      "load_matrix<2>(b.words, k.transposed(), (1 - l / 8 % 2) * 8, 8 * n + l % 8);  // K";
  expect_wrong(kernel, {"K", "S"});
}

TEST_F(SimtWrongLaneMap, ATransposeThatIsMissingOrTooMuch) {
  Attention kernel;
  kernel.load_v = "load_matrix<2>(b.words, v, l % 16, 8 * n);  // V";
  expect_wrong(kernel, {"V", "D"});
  kernel = {};
  kernel.load_q = "load_matrix<4, Transpose::yes>(a.words, q, 16 + l % 16, 8 + l / 16 * 8);  // Q";
  expect_wrong(kernel, {"Q", "S"});
  kernel = {};
  kernel.load_k = "load_matrix<2>(b.words, k, 8 * n + l % 8, l / 8 % 2 * 8);  // K";
  expect_finding(kernel.text(), dims(1, 32), "wrong lane map", {"K", "S"}, 256);
}

TEST_F(SimtWrongLaneMap, ValuesOfAProductTakenForOthers) {
  Attention kernel;  // by rows of 8 lanes
  kernel.again = R"(weights.words[2 * n + h] = matrix_word<bf16>(
            s.values[2 * h], s.values[2 * h + 1], l / 4 + 8 * n, 8 * h + s.column(2 * h));  // P)";
  expect_finding(kernel.text(), dims(1, 32), "wrong lane map", {"D"}, 256);
  kernel = {};
  kernel.read = "d.at(i, l / 4 + i % 2 * 8, l % 4 * 2 + i / 2)";
  expect_finding(kernel.text(), dims(1, 32), "wrong lane map", {"OUT"}, 256);
}

TEST_F(SimtWrongLaneMap, AWordMadeOfBareBits) {
  Attention kernel;
  kernel.again = "weights.words[2 * n + h] = MatrixWord{0x3f803f80u};";
  expect_finding(kernel.text(), dims(1, 32), "wrong lane map", {"D"}, 256);
  kernel.again = "weights.words[2 * n + h] = MatrixWord{};";  // zeros are right anywhere
  expect_result(kernel.text(), dims(1, 32), std::vector<int>(256, 0));
}

TEST_F(SimtWrongLaneMap, ElementsTakenByHand) {
  const auto text = [](const std::string& row_of_b) {
    return kernel_text(R"(
  KILN_SHARED(bf16, cells, 256);
  for (int i = t; i < 256; i += 32) cells[i] = from_float<bf16>(static_cast<float>(i % 16));
  block_barrier();
  const MatrixTile tile(cells, RowMajor{16});
  MmaA a; MmaB b;
  for (int i = 0; i < 4; ++i) a.words[i] = tile.word(a.row(i), a.column(i));
  for (int i = 0; i < 2; ++i) {
    b.words[i] = matrix_word(tile.element()" +
                       row_of_b + R"(, t / 4),  // HERE
                             tile.element()" +
                       row_of_b + R"( + 1, t / 4));
  }
  const MmaC d = mma_m16n8k16<bf16>(a, b, MmaC{});  // THERE
  for (int i = 0; i < 4; ++i) out.store(d.row(i) * 8 + d.column(i), static_cast<int>(d.values[i]));
)");
  };
  const std::string wrong = text("(t % 4 * 4 + i * 2)");
  expect_finding(wrong, dims(1, 32), "wrong lane map", {"HERE", "THERE"}, 128);
  std::vector<int> out(128);
  const auto done = machine().run(wrong, dims(1, 32), out);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find(
                "thread 0 (lane 0) of block (0,0,0) has as value 2 of B for mma_m16n8k16 at k.cu:"),
            std::string::npos)
      << done.error().message;
  EXPECT_NE(done.error().message.find("element (2,0) of cells"), std::string::npos);
  EXPECT_NE(done.error().message.find("where the instruction takes (8,0)"), std::string::npos);
  std::vector<int> expected(128);
  for (int i = 0; i < 128; ++i) expected[static_cast<std::size_t>(i)] = 120 * (i % 8);
  expect_result(text("(t % 4 * 2 + i * 8)"), dims(1, 32), expected);
}

TEST_F(SimtWrongLaneMap, OfMfma) {
  const auto text = [](int size, const std::string& depth_of_a, const std::string& column_of_b) {
    return kernel_text(fmt::format(
        R"(
  constexpr int S = {}, K = 256 / S;
  KILN_SHARED(bf16, cells, S * (K + 4));
  for (int i = t; i < S * (K + 4); i += 64) cells[i] = from_float<bf16>(1.0f);
  block_barrier();
  const MatrixTile tile(cells, RowMajor{{K + 4}});
  MfmaA<S> a; MfmaB<S> b;
  tile.load(a.words, t % S, {});  // HERE
  tile.transposed().load(b.words, t / S * 4, {});  // THERE
  MfmaC<S> d = mfma_{}(a, b, MfmaC<S>{{}});  // MFMA
  for (int i = 0; i < S * S / 64; ++i) {{
    out.store(d.row(i) * S + d.column(i), static_cast<int>(d.at(i, d.row(i), d.column(i))));
  }}
)",
        size, depth_of_a, column_of_b, size == 16 ? "16x16x16" : "32x32x8"));
  };
  const std::string arch = "simt:warp64:checked";
  for (const int size : {16, 32}) {
    const auto elements = static_cast<std::size_t>(size * size);
    expect_result(text(size, "t / S * 4", "t % S"), dims(1, 64),
                  std::vector<int>(elements, 256 / size), {}, arch);
    expect_finding(text(size, "(64 / S - 1 - t / S) * 4", "t % S"), dims(1, 64), "wrong lane map",
                   {"HERE", "MFMA"}, elements, arch);
    expect_finding(text(size, "t / S * 4", "t % S ^ 1"), dims(1, 64), "wrong lane map",
                   {"THERE", "MFMA"}, elements, arch);
  }
}

}  // namespace
}  // namespace kiln
