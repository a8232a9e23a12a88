// SPDX-License-Identifier: Apache-2.0
#include "jit/base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

}  // namespace
}  // namespace kiln
