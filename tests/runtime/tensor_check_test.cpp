// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/tensor_check.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace kiln {
namespace {

struct Fixture {
  std::vector<float> data = std::vector<float>(64);
  std::vector<std::int64_t> shape = {2, 3, 4};
  std::vector<std::int64_t> strides = {12, 4, 1};
  DLTensor tensor{};

  Fixture() {
    tensor.data = data.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 3;
    tensor.dtype = {kDLFloat, 32, 1};
    tensor.shape = shape.data();
    tensor.strides = strides.data();
  }
  std::string message(TensorCheck check = TensorCheck("op")) {
    const auto checked = check.check("x", tensor, ElementType::f32, {{"A", 2}, {"B", 3}, {"C", 4}});
    return checked ? "" : checked.error().message;
  }
};

TEST(TensorCheck, AcceptsViews) {
  Fixture dense;
  EXPECT_EQ(dense.message(), "");
  dense.tensor.strides = nullptr;
  EXPECT_EQ(dense.message(), "");
  Fixture view;
  view.strides = {20, 5, 1};
  view.tensor.byte_offset = 4;
  EXPECT_EQ(view.message(), "");
  EXPECT_EQ(address_of(view.tensor), view.data.data() + 1);
}

TEST(TensorCheck, SaysWhichTensorAndWhatWasWanted) {
  struct Case {
    std::function<void(Fixture&)> spoil;
    const char* message;
  };
  const std::vector<Case> cases = {
      {[](Fixture& f) {
         f.tensor.dtype = {kDLBfloat, 16, 1};
       },
       "op: tensor 'x' holds bf16, not f32"},
      {[](Fixture& f) { f.tensor.dtype.lanes = 4; },
       "op: tensor 'x' holds DLPack code 2, 32 bits, 4 lanes, not f32"},
      {[](Fixture& f) { f.tensor.ndim = 2; }, "op: tensor 'x' has 2 dimensions, not 3"},
      {[](Fixture& f) { f.shape[1] = 5; },
       "op: tensor 'x' has shape [2, 5, 4], not [A=2, B=3, C=4]"},
      {[](Fixture& f) { f.tensor.data = nullptr; },
       "op: tensor 'x' has no data: its pointer is null"},
      {[](Fixture& f) { f.tensor.byte_offset = 2; },
       "op: tensor 'x' is not aligned to its 4 bytes an element"},
      {[](Fixture& f) { f.strides[2] = 2; },
       "op: tensor 'x' has stride 2 in its last dimension; it must be dense there"},
  };
  for (const Case& one : cases) {
    Fixture fixture;
    one.spoil(fixture);
    EXPECT_EQ(fixture.message(), one.message);
  }
}

TEST(TensorCheck, AllTensorsLieOnOneDevice) {
  Fixture first;
  Fixture second;
  second.tensor.device = {kDLCUDA, 1};
  TensorCheck check("op");
  ASSERT_TRUE(check.check("x", first.tensor, ElementType::f32, {{"A", 2}, {"B", 3}, {"C", 4}}));
  const auto checked =
      check.check("y", second.tensor, ElementType::f32, {{"A", 2}, {"B", 3}, {"C", 4}});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().message, "op: tensor 'y' is on CUDA device 1, but 'x' is on the CPU");
}

TEST(TensorCheck, EmptyTensorsNeedNoData) {
  Fixture fixture;
  fixture.shape[0] = 0;
  fixture.tensor.data = nullptr;
  TensorCheck check("op");
  EXPECT_TRUE(check.check("x", fixture.tensor, ElementType::f32, {{"A", 0}, {"B", 3}, {"C", 4}}));
}

TEST(TensorCheck, DenseMeansRowMajorWithoutGaps) {
  Fixture fixture;
  fixture.strides = {20, 5, 1};
  TensorCheck check("op");
  const auto checked =
      check.check_dense("x", fixture.tensor, ElementType::f32, {{"A", 2}, {"B", 3}, {"C", 4}});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().message,
            "op: tensor 'x' has stride 5 in dimension 1; it must be contiguous");
}

}  // namespace
}  // namespace kiln
