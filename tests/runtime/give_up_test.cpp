// SPDX-License-Identifier: Apache-2.0
// Who gives up gets the thread back; the compile ends with the last who wants it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "jit/worker/worker_pool.h"
#include "tests/runtime/user_template.h"
#include "tests/support/temp_folder.h"

#ifdef KILN_BAD_WORKER
namespace kiln {
namespace {

TEST(GiveUp, ACompileThatHangsEndsWithTheLastWhoWantsIt) {
  const test::LlvmRuntime llvm;
  if (!llvm.available()) GTEST_SKIP() << llvm.why_not();
  const test::TempFolder folder;
  const auto read = folder.path() / "read";
  setenv("KILN_BAD_WORKER", "late_hang", 1);  // it answers that it can, then hangs
  setenv("KILN_BAD_WORKER_READ", read.c_str(), 1);
  Options options = *Options::from_environment();
  options.cache_policy = CachePolicy::off;
  options.compilers.isolation = Isolation::all;
  options.compilers.worker_program = KILN_BAD_WORKER;
  const auto runtime = *Runtime::create(options);
  std::stop_source first;
  std::stop_source second;
  std::atomic<int> cancelled{0};
  const auto ask = [&](std::stop_token give_up) {
    const auto prepared = runtime->prepare(test::add_constant(4), give_up);
    cancelled += !prepared && prepared.error().code == ErrorCode::cancelled ? 1 : 0;
  };
  std::thread producer(ask, first.get_token());
  while (!std::filesystem::exists(read)) std::this_thread::yield();
  std::thread waiter(ask, second.get_token());
  second.request_stop();
  waiter.join();
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(runtime->compilers().workers()->counts().failures, 0U) << "somebody still wants it";
  first.request_stop();
  producer.join();
  EXPECT_EQ(cancelled, 2);
  EXPECT_EQ(runtime->compilers().workers()->counts().failures, 1U);
  EXPECT_EQ(runtime->counters(), Counters{});
}

}  // namespace
}  // namespace kiln
#endif
