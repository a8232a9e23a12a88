// SPDX-License-Identifier: Apache-2.0
// Threads and forks.
#include <sys/wait.h>
#include <unistd.h>

#include <latch>
#include <set>
#include <thread>

#include "runtime/drivers/gpu_open_gate.h"
#include "tests/runtime/drivers/gpu_fixture.h"

namespace kiln::test {
namespace {

class GpuProcessTest : public GpuTest {};

// Runs `check` in a forked child: 0 when all that it expects holds, else the number of the line.
template <class Check>
int exit_code_of_child(Check check) {
  const pid_t child = fork();
  if (child == 0) _exit(check());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool says_forked(const Error& error) {
  return error.code == ErrorCode::unavailable && error.message.find("fork") != std::string::npos;
}

TEST_P(GpuProcessTest, ManyThreadsOpenOnceAndLaunch) {
  constexpr int kThreads = 8;
  constexpr int kLaunches = 50;
  const auto work = [&](int thread) {
    const int index = thread % 2;
    const auto module = driver->load(index, artifact());
    ASSERT_TRUE(module) << module.error().message;
    const auto memory = driver->allocate(index, 64);
    ASSERT_TRUE(memory);
    for (int i = 0; i < kLaunches; ++i) {
      ASSERT_TRUE((*module)->launch({}, "12345678", 8, {}));
    }
  };
  std::latch ready(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      ready.arrive_and_wait();
      work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto calls = library.calls();
  EXPECT_EQ(count(calls, gpu().init), 1);
  EXPECT_EQ(count(calls, gpu().launch), kThreads * kLaunches);
  EXPECT_EQ(count(calls, gpu().unload), kThreads);
  EXPECT_EQ(count(calls, gpu().release), kThreads);
}

TEST_P(GpuProcessTest, OneModuleServesManyThreads) {
  const auto module = driver->load(1, artifact());
  ASSERT_TRUE(module);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) ASSERT_TRUE((*module)->launch({}, "12345678", 8, {}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count(library.calls(), std::string(gpu().launch)), 200);
}

TEST_P(GpuProcessTest, ForkedChildIsToldSoAndCallsNothing) {
  auto module = driver->load(0, artifact());
  ASSERT_TRUE(module);
  auto memory = driver->allocate(0, 16);
  ASSERT_TRUE(memory);
  library.calls();
  const int code = exit_code_of_child([&] {
    const auto devices = driver->devices();
    if (devices || !says_forked(devices.error())) return __LINE__ % 256;
    const auto launched = (*module)->launch({}, "12345678", 8, {});
    if (launched || !says_forked(launched.error())) return __LINE__ % 256;
    const auto copied = driver->copy_to_host(0, memory->get(), (*memory)->data(), 1);
    if (copied || !says_forked(copied.error())) return __LINE__ % 256;
    module->reset();
    memory->reset();
    driver.reset();
    return library.calls().empty() ? 0 : __LINE__ % 256;
  });
  EXPECT_EQ(code, 0);
  EXPECT_TRUE((*module)->launch({}, "12345678", 8, {}));  // the parent is as before
}

TEST_P(GpuProcessTest, ChildOfAParentThatOpenedNothingOpensForItself) {
  const int code = exit_code_of_child([&] { return driver->devices() ? 0 : 1; });
  EXPECT_EQ(code, 0);
  EXPECT_TRUE(driver->devices());
}

TEST_P(GpuProcessTest, ChildOfAParentThatFailedToOpenMayTry) {
  library.fail(gpu().init, 100);
  ASSERT_FALSE(driver->devices());
  library.fail(gpu().init, 0);
  EXPECT_EQ(exit_code_of_child([&] { return driver->devices() ? 0 : 1; }), 0);
}

KILN_FOR_BOTH_VENDORS(GpuProcessTest);

// Else the child would wait for a thread that it does not have.
TEST(GpuOpenGateTest, ChildForkedDuringAnOpeningIsNotLockedOut) {
  GpuOpenGate gate;
  ASSERT_EQ(gate.enter(), GpuOpenGate::Turn::open_it);
  const int code =
      exit_code_of_child([&] { return gate.enter() == GpuOpenGate::Turn::other_process ? 0 : 1; });
  EXPECT_EQ(code, 0);
  gate.open();
  EXPECT_EQ(gate.enter(), GpuOpenGate::Turn::is_open);
}

TEST(GpuOpenGateTest, OneOfManyOpensAfterEachFailure) {
  GpuOpenGate gate;
  std::atomic<int> attempts{0};
  std::atomic<int> successes{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      if (gate.enter() != GpuOpenGate::Turn::open_it) return;
      if (++attempts < 3) return gate.close();
      ++successes;
      gate.open();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(attempts, 3);
  EXPECT_EQ(successes, 1);
}

}  // namespace
}  // namespace kiln::test
