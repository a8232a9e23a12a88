// SPDX-License-Identifier: Apache-2.0
#include "jit/base/log.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fork_beside_threads.h"

namespace kiln {
namespace {

class LogTest : public testing::Test {
 protected:
  LogTest() {
    set_log_sink([this](LogLevel, std::string_view message) { said_.emplace_back(message); });
  }
  ~LogTest() override {
    set_log_sink({});
    set_log_level(LogLevel::warning);
  }
  std::vector<std::string> said_;
};

TEST_F(LogTest, LevelDecides) {
  log(LogLevel::info, "quiet");
  log(LogLevel::warning, "loud");
  set_log_level(LogLevel::debug);
  log(LogLevel::debug, "detail");
  set_log_level(LogLevel::off);
  log(LogLevel::warning, "never");
  EXPECT_EQ(said_, (std::vector<std::string>{"loud", "detail"}));
}

TEST_F(LogTest, OnceIsOncePerMessage) {
  for (int i = 0; i < 3; ++i) log_once(LogLevel::warning, "log_test: again");
  log_once(LogLevel::warning, "log_test: another");
  EXPECT_EQ(said_, (std::vector<std::string>{"log_test: again", "log_test: another"}));
}

// A child that finds the lock taken by a thread that it does not have would wait for ever.
TEST_F(LogTest, ChildForkedWhileOthersLogCanLog) {
  KILN_FORKS_BESIDE_THREADS();
  std::atomic<bool> stop = false;
  set_log_sink([](LogLevel, std::string_view) {});
  std::thread busy([&] {
    while (!stop) log(LogLevel::warning, "busy");
  });
  for (int round = 0; round < 200; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      log_once(LogLevel::warning, "child");
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << round;
  }
  stop = true;
  busy.join();
}

}  // namespace
}  // namespace kiln
