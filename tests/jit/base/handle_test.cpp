// SPDX-License-Identifier: Apache-2.0
#include "jit/base/handle.h"

#include <gtest/gtest.h>

#include <vector>

namespace kiln {
namespace {

struct Traits {
  static constexpr int kNone = 0;
  static inline std::vector<int> closed;
  static void close(int handle) { closed.push_back(handle); }
};
using Handle = UniqueHandle<int, Traits>;

class UniqueHandleTest : public testing::Test {
 protected:
  UniqueHandleTest() { Traits::closed.clear(); }
};

TEST_F(UniqueHandleTest, ClosesOnce) {
  {
    Handle first(1);
    Handle second(std::move(first));
    EXPECT_FALSE(first);
    EXPECT_EQ(second.get(), 1);
  }
  EXPECT_EQ(Traits::closed, std::vector<int>{1});
}

TEST_F(UniqueHandleTest, AssignmentClosesWhatWasThere) {
  Handle handle(1);
  handle = Handle(2);
  EXPECT_EQ(Traits::closed, std::vector<int>{1});
  handle.reset(3);
  EXPECT_EQ(Traits::closed, (std::vector<int>{1, 2}));
  EXPECT_EQ(handle.release(), 3);
  handle.reset();
  EXPECT_EQ(Traits::closed, (std::vector<int>{1, 2}));
}

TEST_F(UniqueHandleTest, NoHandleIsNotClosed) {
  { Handle none; }
  EXPECT_TRUE(Traits::closed.empty());
}

}  // namespace
}  // namespace kiln
