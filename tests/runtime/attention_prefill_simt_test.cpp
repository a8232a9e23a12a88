// SPDX-License-Identifier: Apache-2.0
// The public attention_prefill by its GPU kernels, on the SIMT machine: lengths at the edges, and
// where tensors may lie.
#include "tests/runtime/prefill_problem.h"

namespace kiln {
namespace {

using test::StridedTensor;
using test::prefill::Lengths;
using test::prefill::Machine;
using test::prefill::Problem;
using enum ElementType;

constexpr Machine kMatrix{"simt", "attention_prefill/mma"};
constexpr Machine kPlain{"simt", "attention_prefill/plain"};
constexpr Machine kPlainOf64{"simt:warp64", "attention_prefill/plain"};

class AttentionPrefillSimtTest : public test::prefill::AttentionPrefillTest {
 protected:
  // Weights are rounded to bf16, and no value is above 1.
  static void run_matrix(Problem& problem) {
    run_and_compare(problem, 0.125, kMatrix, {.out = 0x1p-8, .lse = 1e-4});
  }
};

TEST_F(AttentionPrefillSimtTest, LengthsAtTheEdges) {
  const Lengths queries = {0, 1, 1, 5, 64, 7, 129, 3, 0};
  const Lengths keys = {3, 1, 0, 70, 64, 2, 129, 128, 0};  // append; equal; more queries than keys
  for (const bool causal : {true, false}) {
    SCOPED_TRACE(causal);
    Problem by_matrix(queries, keys, causal);
    run_matrix(by_matrix);
    Problem by_wide_warps(queries, keys, causal);
    run_and_compare(by_wide_warps, 0.125, kPlainOf64);
  }
}

TEST_F(AttentionPrefillSimtTest, PairsOfLengthsThatPeersTest) {
  for (const auto& [queries, keys] : {std::pair{239, 1}, std::pair{799, 3}, std::pair{113, 203},
                                      std::pair{1023, 1024}, std::pair{1, 239}}) {
    SCOPED_TRACE(fmt::format("{} queries, {} keys", queries, keys));
    Problem problem({queries}, {keys});
    run_matrix(problem);
  }
}

TEST_F(AttentionPrefillSimtTest, RowsThatWideAccessesReachLieAnywhere) {
  Problem dense({3, 40}, {9, 40});
  run_matrix(dense);
  Problem problem({3, 40}, {9, 40});
  const std::int64_t q_row = problem.q_heads * 72 + 16, kv_row = problem.kv_heads * 80 + 8;
  problem.q = StridedTensor(bf16, {43, 4, 64}, {q_row, 72, 1}, 8);
  problem.k = StridedTensor(bf16, {49, 2, 64}, {kv_row, 80, 1}, 16);
  problem.v = StridedTensor(bf16, {49, 2, 64}, {64, 49 * 64, 1}, 24);  // heads outermost
  problem.out = StridedTensor(bf16, {43, 4, 64}, {q_row, 72, 1}, 8);
  problem.lse = StridedTensor(f32, {43, 4}, {1, 47});  // heads outermost
  problem.fill();
  run_matrix(problem);
  EXPECT_EQ(problem.out.values(), dense.out.values());
}

TEST_F(AttentionPrefillSimtTest, UnalignedRowsAreServedByPlainArithmetic) {
  Problem problem({3, 40}, {9, 40});
  const std::int64_t q_row = problem.q_heads * 67 + 5, kv_row = problem.kv_heads * 66 + 3;
  problem.q = StridedTensor(bf16, {43, 4, 64}, {q_row, 67, 1}, 1);
  problem.k = StridedTensor(bf16, {49, 2, 64}, {kv_row, 66, 1}, 3);
  problem.v = StridedTensor(bf16, {49, 2, 64}, {64, 49 * 64, 1}, 5);
  problem.out = StridedTensor(bf16, {43, 4, 64}, {q_row, 67, 1}, 7);
  problem.lse = StridedTensor(f32, {43, 4}, {1, 47});
  problem.fill();
  run_and_compare(problem, 0.125, kPlain);
}

}  // namespace
}  // namespace kiln
