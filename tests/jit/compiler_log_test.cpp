// SPDX-License-Identifier: Apache-2.0
#include "jit/compiler_log.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

// As NVRTC 11.8 and 13.0 print it for two kernels, of which the second calls a function that was
// not inlined and spills.
constexpr const char* kLog11 = R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1fILi3EEvPf' for 'sm_80'
ptxas info    : Function properties for _Z1fILi3EEvPf
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, 1536 bytes smem, 360 bytes cmem[0]
)";

constexpr const char* kLog13 = R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1fPf' for 'sm_90a'
ptxas info    : Function properties for _Z1fPf
ptxas         .     24 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 24 bytes cumulative stack size
ptxas info    : Compile time = 4.148 ms
ptxas info    : Compiling entry function '_Z1gPf' for 'sm_90a'
ptxas info    : Function properties for _Z1gPf
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 48 bytes cumulative stack size, 64 bytes smem
ptxas info    : Compile time = 1.0 ms
ptxas info    : Function properties for _Z6calleePf
ptxas         .     48 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
)";

TEST(PtxasLog, OneKernel) {
  const auto found = parse_ptxas_log(kLog11);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.at("_Z1fILi3EEvPf"), (KernelResources{10, 1536, 0, 0, 0, std::nullopt}));
}

TEST(PtxasLog, KernelsAndTheirCalleesAreKeptApart) {
  const auto found = parse_ptxas_log(kLog13);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found.at("_Z1fPf"), (KernelResources{255, 0, 24, 12, 16, std::nullopt}));
  EXPECT_EQ(found.at("_Z1gPf"), (KernelResources{8, 64, 48, 0, 0, std::nullopt}));
}

TEST(PtxasLog, OtherTextSaysNothing) {
  EXPECT_TRUE(parse_ptxas_log("").empty());
  EXPECT_TRUE(parse_ptxas_log("Used registers\n bytes stack frame\nUsed  registers").empty());
  const auto found =
      parse_ptxas_log("Compiling entry function 'f' for\nUsed x registers, y bytes smem");
  EXPECT_EQ(found.at("f").registers, std::nullopt);
}

TEST(FirstErrorLine, IsTheFirstThatReportsOne) {
  EXPECT_EQ(first_error_line("a.cu(1): warning: x\na.cu(2): error: y\na.cu(3): error: z\n"),
            "a.cu(2): error: y");
  EXPECT_EQ(first_error_line("something else\nmore"), "something else");
  EXPECT_EQ(first_error_line(""), "");
}

}  // namespace
}  // namespace kiln
