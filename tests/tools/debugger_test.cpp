// SPDX-License-Identifier: Apache-2.0
// The recipe of runtime/drivers/SIMT.md on the real gdb: it stops at a line of a kernel template,
// in one thread of many, and shows where it is and what it holds.
#include <gtest/gtest.h>

#include <algorithm>

#include "templates/sources.h"
#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

int line_of(std::string_view text, std::string_view part) {
  const std::size_t at = text.find(part);
  EXPECT_NE(at, std::string_view::npos) << part;
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));
}

TEST(Debugger, StopsInOneThreadAtALineOfAKernelTemplate) {
  if (run_process({"/usr/bin/env", "gdb", "--version"}).exit_code != 0)
    GTEST_SKIP() << "gdb is not installed";
  const std::string statement = "const i64 row = vector / side.heads;";
  const std::string line = std::to_string(line_of(*find_source("qk_rmsnorm/packs.cu"), statement));
  const Jitctl jitctl;
  const std::vector<std::string> gdb = {
      "/usr/bin/env", "timeout",
      "120",          "gdb",
      "-nx",          "-batch",
      "-ex",          "directory " KILN_TEMPLATES "/kernels:" KILN_TEMPLATES "/device",
      "-ex",          "set breakpoint pending on",
      "-ex",          "break packs.cu:" + line + " if vector == 2",
      "-ex",          "run",
      "-ex",          "backtrace",
      "-ex",          "print vector",
      "-ex",          "print kiln::dialect::this_thread().threads[0]",
      "-ex",          "kill",
      "--args"};
  const auto result =
      jitctl.run_under(gdb, {"run", "qk_rmsnorm", "M=4", "--arch", "simt", "--debug", "--no-time"});
  const std::string said = result.out + result.err;
  if (said.find("ptrace: ") != std::string::npos ||
      said.find("not permitted") != std::string::npos) {
    GTEST_SKIP() << "gdb may not trace processes here: " << said;
  }
  const auto shows = [&](const std::string& text) { return said.find(text) != std::string::npos; };
  EXPECT_TRUE(shows("qk_rmsnorm/packs.cu:" + line)) << said;
  EXPECT_TRUE(shows(line + "\t  " + statement)) << said;  // the source itself
  EXPECT_TRUE(shows("norm_block<")) << said;
  EXPECT_TRUE(shows("kiln::qk_rmsnorm_packs (p=...) at qk_rmsnorm/packs.cu:")) << said;
  EXPECT_TRUE(shows("$1 = 2\n")) << said;
  EXPECT_TRUE(shows("$2 = 256\n")) << said;
}

}  // namespace
}  // namespace kiln::test
