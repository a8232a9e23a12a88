// SPDX-License-Identifier: Apache-2.0
#include "jit/ptx_places.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

CompileInput input() {
  CompileInput input{"op", "op/i", {}, *Arch::parse("sm_80"), {"op/i.cu", ""}, {}, {}, {}};
  input.headers = {{"tile.h", ""}, {"kiln/tile.h", ""}};
  return input;
}

constexpr const char* kPtx = R"(.version 9.0
	.loc 1 3 3
	add;
	.loc 2 4 3, function_name $x, inlined_at 1 3 3
	bogus.u32 %r1;
	.loc 3 9 1
	st;
	.file 1 "/anywhere/op/i.cu"
	.file 2 "/anywhere/kiln/tile.h"
	.file 3 "/anywhere/else.h"
)";

TEST(PtxPlaces, LinesOfPtxBecomePlacesInTheInput) {
  const std::string log =
      "ptxas application ptx input, line 3; error   : one\n"
      "ptxas application ptx input, line 5; error   : two: more\n"
      "ptxas application ptx input, line 7; error   : of a file that is not in the input\n"
      "ptxas application ptx input, line 1; error   : before any place\n"
      "ptxas application ptx input, line 99999999999999999999; error   : no number\n"
      "ptxas fatal   : aborted\n";
  EXPECT_TRUE(names_ptx_lines(log));
  EXPECT_EQ(place_ptx_errors(log, kPtx, input()),
            "op/i.cu:3: error: one; PTX line 3: add;\n"
            "kiln/tile.h:4: error: two: more; PTX line 5: bogus.u32 %r1;\n"
            "ptxas application ptx input, line 7; error   : of a file that is not in the input\n"
            "ptxas application ptx input, line 1; error   : before any place\n"
            "ptxas application ptx input, line 99999999999999999999; error   : no number\n"
            "ptxas fatal   : aborted\n");
}

TEST(PtxPlaces, OtherLogsStayAsTheyAre) {
  EXPECT_FALSE(names_ptx_lines("a.cu(3): error: x\n"));
  EXPECT_EQ(place_ptx_errors("a.cu(3): error: x\n", "", input()), "a.cu(3): error: x\n");
}

}  // namespace
}  // namespace kiln
