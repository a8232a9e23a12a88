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

using Errors = std::vector<CompilerError>;

TEST(ErrorsIn, EachCompilersFormOfAPlace) {
  EXPECT_EQ(errors_in("kernels/a.cu(12): error: identifier \"x\" is undefined\n"
                      "  int y = x;\n          ^\n\n1 error detected\n"),
            (Errors{{"kernels/a.cu:12", "identifier \"x\" is undefined", 9}}));
  EXPECT_EQ(
      errors_in("a.h(3): error #20: identifier is undefined\n"
                "a.h(4): catastrophic error: cannot open source file \"b.h\"\n"),
      (Errors{{"a.h:3", "identifier is undefined"}, {"a.h:4", "cannot open source file \"b.h\""}}));
  EXPECT_EQ(errors_in("./kiln/a.h:3:13: error: use of undeclared identifier 'x'\n"
                      "a.cc:7: warning: error prone\n"
                      "a.cc:9:1: fatal error: 'b.h' file not found\n"),
            (Errors{{"kiln/a.h:3", "use of undeclared identifier 'x'", 13},
                    {"a.cc:9", "'b.h' file not found", 1}}));
  EXPECT_EQ(errors_in("error: unknown argument '-x'\n"), (Errors{{"", "unknown argument '-x'"}}));
  EXPECT_EQ(errors_in("nvrtc: error: invalid value for --std\nptxas fatal   : Unresolved f\n"),
            (Errors{{"", "nvrtc: error: invalid value for --std"},
                    {"", "ptxas fatal   : Unresolved f"}}));
  EXPECT_EQ(errors_in("ptxas application ptx input, line 23; error   : Not a name\n"),
            (Errors{{"", "ptxas application ptx input, line 23; error   : Not a name"}}));
  EXPECT_EQ(errors_in("a.cu(1): warning #1: errors may follow\n2 errors detected\n"), Errors{});
}

TEST(FailureMessage, NamesTheCompilerTheKernelAndTheFirstErrors) {
  EXPECT_EQ(failure_message("NVRTC 13.0", "op/i H=8 sm_90a", "a.cu(1): error: x\n", "status 6"),
            "NVRTC 13.0 cannot compile op/i H=8 sm_90a: a.cu:1: x");
  EXPECT_EQ(failure_message("c", "l", "a.cc:1:5: error: x\n", ""),
            "c cannot compile l: a.cc:1:5: x");
  EXPECT_EQ(failure_message("c", "l",
                            "a:1: error: p\na:2: error: q\na:3: error: r\n"
                            "a:4: error: s\na:5: error: t\n",
                            ""),
            "c cannot compile l: a:1: p; a:2: q; a:3: r; and 2 more");
  EXPECT_EQ(failure_message("c", "l", "", "status 6"), "c cannot compile l: status 6");
  EXPECT_EQ(failure_message("c", "l", "odd words\nmore", ""), "c cannot compile l: odd words");
}

}  // namespace
}  // namespace kiln
