// SPDX-License-Identifier: Apache-2.0
// What an engine asserts in CI: its warm-up finds every kernel and compiles none.
#include <kiln/kiln.h>
#include <kiln/testing.h>

namespace {

TEST(WarmUp, CompilesNothing) {
  const auto compiles = std::make_shared<kiln::testing::CompileLog>();
  kiln::Options options = *kiln::Options::from_environment();
  options.on_event = compiles->callback();
  const auto runtime = *kiln::Runtime::create(options);

  kiln::KernelRequest request;
  request.op = *kiln::find_op("qk_rmsnorm");
  const std::vector<kiln::NameValue> wanted = {{"Nq", "64"}};
  request.shape = kiln::parse_arguments(*request.op, wanted)->shape;
  const auto loaded = runtime->load(request);
  EXPECT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(kiln::testing::compiled_nothing(*compiles));
}

}  // namespace
