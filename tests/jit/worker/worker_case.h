// SPDX-License-Identifier: Apache-2.0
// What the tests of workers share: a compiler to isolate, a memory of crashes, and a look at what a
// worker may leave behind.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <map>
#include <set>

#include "jit/worker/isolated_compiler.h"
#include "tests/jit/compilers_for_test.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {

// The real worker.
inline CompilerSettings isolated_settings(Isolation isolation, int workers = 2) {
  CompilerSettings settings = settings_from_environment();
  settings.isolation = isolation;
  settings.worker_program = KILN_WORKER_PROGRAM;
  settings.workers_max = workers;
  return settings;
}

// Compiles everything in this process, and counts.
class CountingCompiler final : public Compiler {
 public:
  std::string_view name() const override { return "counting"; }
  Result<Record> toolchain() override {
    Record record;
    record.add("backend", "counting");
    return record;
  }
  Answer can_compile(const Arch&) override {
    ++asked;
    return Answer::yes();
  }
  Result<Artifact> compile(const CompileInput&) override {
    ++compiles;
    Artifact artifact;
    artifact.compiler = "counting";
    return artifact;
  }
  Result<std::string> emit(const CompileInput&, std::string_view) override { return "text"; }
  Result<Description> describe(std::vector<LibraryAttempt>*) override { return Description{}; }

  std::atomic<int> asked{0};
  std::atomic<int> compiles{0};
};

class MapCrashMemory final : public CrashMemory {
 public:
  std::optional<Crash> recall(const Digest& toolchain, std::string_view subject) override {
    const std::lock_guard lock(mutex_);
    const auto found = crashes_.find({toolchain, std::string(subject)});
    return found == crashes_.end() ? std::nullopt : std::optional(found->second);
  }
  void remember(const Crash& crash) override {
    const std::lock_guard lock(mutex_);
    crashes_[{crash.toolchain, crash.subject}] = crash;
  }
  std::vector<std::string> subjects() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> all;
    for (const auto& [key, crash] : crashes_) all.push_back(key.second);
    return all;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<Digest, std::string>, Crash> crashes_;
};

inline int open_descriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder)) ++count;
  closedir(folder);
  return count;
}

inline bool has_children() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

// The ids of the running workers whose parent is this process.
inline std::set<pid_t> workers_of_this_process() {
  std::set<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    pid_t id = 0;
    std::string name;
    char state = 0;
    pid_t parent = 0;
    if (file >> id >> name >> state >> parent && parent == getpid()) found.insert(id);
  }
  return found;
}

// A TMPDIR of this test's own, and the descriptors of before: when the case is over, nothing may be
// left of any worker.
class NothingLeftBehind {
 public:
  NothingLeftBehind() : descriptors_(open_descriptors()) {
    setenv("TMPDIR", folder_.path().c_str(), 1);
  }
  ~NothingLeftBehind() {
    unsetenv("TMPDIR");
    EXPECT_FALSE(has_children());
    EXPECT_EQ(open_descriptors(), descriptors_);
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }
  NothingLeftBehind(const NothingLeftBehind&) = delete;
  NothingLeftBehind& operator=(const NothingLeftBehind&) = delete;

 private:
  const TempFolder folder_;
  const int descriptors_;
};

}  // namespace kiln::test
