// SPDX-License-Identifier: Apache-2.0
// For tests of projects that embed Kiln, with GoogleTest: that a piece of work compiled nothing.
//
//   const auto compiles = std::make_shared<kiln::testing::CompileLog>();
//   kiln::Options options = *kiln::Options::from_environment();
//   options.on_event = compiles->callback();
//   const auto runtime = *kiln::Runtime::create(options);
//   ...
//   EXPECT_TRUE(kiln::testing::compiled_nothing(*compiles));
//
// It needs GoogleTest's headers, which the rest of Kiln does not.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kiln/event.h"

namespace kiln::testing {

// Which kernels compilers were asked for. Thread-safe.
class CompileLog : public std::enable_shared_from_this<CompileLog> {
 public:
  // For Options::on_event; `next`, where given, is told everything too. Owned by a shared_ptr,
  // since the Runtime may outlive the test's own hold on the log.
  EventCallback callback(EventCallback next = {}) {
    return [self = shared_from_this(), next = std::move(next)](const Event& event) {
      if (event.kind == EventKind::compile_begin) self->add(std::string(event.label));
      if (next) next(event);
    };
  }

  std::vector<std::string> labels() const {
    const std::lock_guard lock(mutex_);
    return labels_;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    labels_.clear();
  }

 private:
  void add(std::string label) {
    const std::lock_guard lock(mutex_);
    labels_.push_back(std::move(label));
  }

  mutable std::mutex mutex_;
  std::vector<std::string> labels_;
};

// Success where no compile began since the log was made or cleared; else names each.
inline ::testing::AssertionResult compiled_nothing(const CompileLog& log) {
  const std::vector<std::string> labels = log.labels();
  if (labels.empty()) return ::testing::AssertionSuccess();
  ::testing::AssertionResult failure = ::testing::AssertionFailure();
  failure << labels.size() << " kernels were not in the cache and were compiled:";
  for (const std::string& label : labels) failure << "\n  " << label;
  return failure << "\n'jitctl explain' says why; 'jitctl prewarm' puts them there";
}

}  // namespace kiln::testing
