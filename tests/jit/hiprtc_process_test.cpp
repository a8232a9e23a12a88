// SPDX-License-Identifier: Apache-2.0
// What only a fresh process shows of hipRTC.
#include <gtest/gtest.h>

#include "tests/jit/gpu_sample.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

TEST_F(Hiprtc, ACompileLoadsItsOwnLibrariesAndLeavesNoFiles) {
  const TempFolder folder;
  const ProcessResult result =
      run_process({KILN_JIT_PROBE, "hiprtc"}, {{"TMPDIR", folder.path().string()}});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("undeclared"), std::string::npos) << result.err;  // the failed compile
  EXPECT_NE(result.out.find("libamd_comgr.so"), std::string::npos);
  EXPECT_EQ(result.out.find("libnvrtc"), std::string::npos);
  EXPECT_EQ(result.out.find("libkiln_llvm"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST_F(Hiprtc, TwoProcessesMakeTheSameBytes) {
  const ProcessResult first = run_process({KILN_JIT_PROBE, "hiprtc_digest"});
  const ProcessResult second = run_process({KILN_JIT_PROBE, "hiprtc_digest"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out.size(), 2 * Digest::kSize + 1);
  EXPECT_EQ(first.out, second.out);
}

}  // namespace
}  // namespace kiln::test
