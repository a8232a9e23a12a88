// SPDX-License-Identifier: Apache-2.0
// One compile per key and machine, and a compile that succeeds whatever is wrong with the cache.
#include "runtime/artifact_source.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <mutex>
#include <stop_token>
#include <thread>

#include "cache/schema.h"
#include "tests/cache/faulty_vfs.h"
#include "tests/cache/support.h"
#include "tests/runtime/fake_compiler.h"
#include "tests/support/fork_beside_threads.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

Options options_in(const fs::path& folder) {
  Options options;
  options.cache_folder = folder;
  return options;
}

// A process's view of one cache, with a compiler of its own.
class Source {
 public:
  Source(Options options, FakeCompiler compiler)
      : options_(std::move(options)),
        compiler_(std::move(compiler)),
        source_(
            options_, [this](const Arch&) { return std::vector<Compiler*>{&compiler_}; },
            counting_) {}

  // Whether the artifact is there, of the right bytes.
  bool gets(int number) {
    const auto prepared = source_.get(fake_input(number));
    if (!prepared) fmt::print(stderr, "{}\n", prepared.error().message);
    return prepared && prepared->artifact->code == FakeCompiler::code_for(fake_input(number));
  }
  Result<Prepared> get(int number, const std::stop_token& give_up) {
    return source_.get(fake_input(number), give_up);
  }
  Counters counters() const { return counting_.snapshot(); }

 private:
  const Options options_;
  FakeCompiler compiler_;
  Counting counting_;
  ArtifactSource source_;
};

class OneCompile : public testing::Test {
 protected:
  fs::path cache() const { return folder_.path() / "cache"; }
  fs::path counts() const { return folder_.path() / "counts"; }
  std::uintmax_t compiles() const { return FakeCompiler::count(counts()); }
  FakeCompiler quick() const {
    return FakeCompiler::taking(counts(), std::chrono::milliseconds(20));
  }
  TempFolder folder_;
};

TEST_F(OneCompile, PerKeyOverProcessesAndThreads) {
  constexpr int kProcesses = 6;
  constexpr int kThreads = 4;
  constexpr int kKeys = 5;
  Pipe start;
  std::vector<Child> children;
  for (int process = 0; process < kProcesses; ++process) {
    children.emplace_back([&, process] {
      start.close_write();
      start.await();
      Source source(options_in(cache()), quick());
      std::atomic<int> wrong = 0;
      std::vector<std::thread> threads;
      for (int thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
          for (int i = 0; i < kKeys; ++i) {
            if (!source.gets((i + process + thread) % kKeys)) ++wrong;
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      const Counters counters = source.counters();
      if (counters.cache_errors != 0) return 2;
      return wrong == 0 && counters.compiles + counters.disk_hits == kKeys ? 0 : 1;
    });
  }
  start.close_write();
  for (Child& child : children) EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(compiles(), static_cast<std::uintmax_t>(kKeys));
}

// A process that has begun to compile and goes on when told to.
class CompilingProcess {
 public:
  CompilingProcess(const fs::path& cache, const fs::path& counts)
      : child_([&] {
          go_on_.close_write();
          Source source(options_in(cache), FakeCompiler(counts, [&] {
                          compiling_.signal();
                          go_on_.await();
                        }));
          return source.gets(1) ? 0 : 1;
        }) {
    EXPECT_TRUE(compiling_.await());
  }
  void signal(int number) const { ::kill(child_.id(), number); }
  int finish() {
    go_on_.close_write();
    return child_.wait();
  }

 private:
  Pipe compiling_;
  Pipe go_on_;
  Child child_;
};

TEST_F(OneCompile, HolderThatIsKilledIsNoticedAndNothingIsLeftToCleanUp) {
  CompilingProcess holder(cache(), counts());
  Source source(options_in(cache()), quick());
  bool got = false;
  std::thread waiter([&] { got = source.gets(1); });
  holder.signal(SIGKILL);
  waiter.join();
  EXPECT_TRUE(got);
  EXPECT_EQ(compiles(), 2u);
  EXPECT_TRUE(Source(options_in(cache()), quick()).gets(1));
  EXPECT_EQ(compiles(), 2u);
}

TEST_F(OneCompile, HolderThatIsStoppedIsWaitedForUpToTheLimit) {
  CompilingProcess holder(cache(), counts());
  holder.signal(SIGSTOP);
  Options options = options_in(cache());
  options.lease_wait_ms_max = 100;
  Source source(options, quick());
  EXPECT_TRUE(source.gets(1));
  EXPECT_EQ(source.counters().waited_for_other_process, 1u);
  EXPECT_EQ(compiles(), 2u);
  holder.signal(SIGCONT);
  EXPECT_EQ(holder.finish(), 0);
  EXPECT_TRUE(Source(options_in(cache()), quick()).gets(1));
  EXPECT_EQ(compiles(), 2u);
}

TEST_F(OneCompile, WhoGivesUpDoesNotWaitForAHolderThatHangs) {
  CompilingProcess holder(cache(), counts());
  holder.signal(SIGSTOP);
  Options options = options_in(cache());
  options.lease_wait_ms_max = 60'000;
  Source source(options, quick());
  std::stop_source stop;
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    stop.request_stop();
  });
  const auto prepared = source.get(1, stop.get_token());
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, ErrorCode::cancelled);
  EXPECT_EQ(compiles(), 1u);
  holder.signal(SIGCONT);
  EXPECT_EQ(holder.finish(), 0);
}

TEST_F(OneCompile, ContainersOnOneVolumeAreOneMachine) {
  constexpr int kContainers = 4;
  Pipe start;
  std::vector<Child> containers;
  for (int i = 0; i < kContainers; ++i) {
    containers.emplace_back([&] {
      start.close_write();
      // Each of them is process 1 of its own world.
      if (unshare(CLONE_NEWPID) != 0) return 77;
      Child inside([&] {
        if (getpid() != 1) return 3;
        start.await();
        return Source(options_in(cache()), quick()).gets(1) ? 0 : 1;
      });
      return inside.wait();
    });
  }
  start.close_write();
  int without_rights = 0;
  for (Child& container : containers) {
    const int code = container.wait();
    EXPECT_TRUE(code == 0 || code == 77) << code;
    without_rights += code == 77;
  }
  if (without_rights > 0) GTEST_SKIP() << "this user cannot make a pid namespace";
  EXPECT_EQ(compiles(), 1u);
}

TEST_F(OneCompile, ChildThatACompilerForksKeepsNoLease) {
  Pipe end;
  Child parent([&] {
    Source source(options_in(cache()), FakeCompiler(counts(), [&] {
                    if (fork() != 0) return;
                    // A helper of the compiler's that outlives it.
                    end.close_write();
                    end.await();
                    _exit(0);
                  }));
    return source.gets(1) && source.gets(2) ? 0 : 1;
  });
  EXPECT_EQ(parent.wait(), 0);
  Options options = options_in(cache());
  Source source(options, quick());
  fs::remove(cache() / kStoreFileName);
  EXPECT_TRUE(source.gets(1));
  EXPECT_EQ(source.counters().waited_for_other_process, 0u);
}

// ---- a compile succeeds whatever is wrong with the cache, and says so once

class SaidOnce {
 public:
  SaidOnce() {
    set_log_sink([this](LogLevel level, std::string_view message) {
      const std::lock_guard lock(mutex_);
      if (level == LogLevel::warning) warnings_.emplace_back(message);
    });
  }
  ~SaidOnce() { set_log_sink(nullptr); }
  std::vector<std::string> warnings() {
    const std::lock_guard lock(mutex_);
    return warnings_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> warnings_;
};

class Trouble : public OneCompile {
 protected:
  void expect_compiles_and_says_once(Options options, std::string_view part) {
    SaidOnce said;
    Source source(std::move(options), quick());
    for (const int number : {1, 2, 3}) EXPECT_TRUE(source.gets(number));
    EXPECT_EQ(source.counters().compiles, 3u);
    const std::vector<std::string> warnings = said.warnings();
    ASSERT_EQ(warnings.size(), 1u) << fmt::format("{}", fmt::join(warnings, "\n"));
    EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
    EXPECT_EQ(warnings[0].find('\n'), std::string::npos);
  }
};

TEST_F(Trouble, NoHome) {
  expect_compiles_and_says_once(Options{}, "set KILN_CACHE_DIR, XDG_CACHE_HOME or HOME");
}

TEST_F(Trouble, HomeThatCannotBeMade) {
  expect_compiles_and_says_once(options_in("/proc/no-such-home/.cache/kiln"), "no-such-home");
}

TEST_F(Trouble, FolderThatIsAFile) {
  std::ofstream(cache()) << "text";
  expect_compiles_and_says_once(options_in(cache()), "not a folder");
}

TEST_F(Trouble, FolderThatOthersCanWrite) {
  fs::create_directory(cache());
  ASSERT_EQ(chmod(cache().c_str(), 0777), 0);
  expect_compiles_and_says_once(options_in(cache()), "chmod 700");
}

TEST_F(Trouble, DatabaseOfAnotherProgram) {
  fs::create_directory(cache());
  ASSERT_EQ(chmod(cache().c_str(), 0700), 0);
  RawDatabase(cache() / kStoreFileName).run("CREATE TABLE bookmarks(url)");
  expect_compiles_and_says_once(options_in(cache()), "another program");
}

TEST_F(Trouble, FullOrReadOnlyDisk) {
  fs::create_directory(cache());
  if (mount("tmpfs", cache().c_str(), "tmpfs", 0, "size=1m,mode=700") != 0) {
    GTEST_SKIP() << "cannot mount a small file system: " << std::strerror(errno);
  }
  {
    Source source(options_in(cache()), quick());
    EXPECT_TRUE(source.gets(7));
  }
  {
    std::ofstream filler(cache() / "filler", std::ios::binary);
    while (filler.write(std::string(4096, 'x').data(), 4096).flush()) {
    }
  }
  expect_compiles_and_says_once(options_in(cache()), "disk is full");
  EXPECT_EQ(mount("tmpfs", cache().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr), 0);
  expect_compiles_and_says_once(options_in(cache()), "reading only");
  {
    Source source(options_in(cache()), quick());
    EXPECT_TRUE(source.gets(7));
    EXPECT_EQ(source.counters().disk_hits, 1u);
    EXPECT_TRUE(source.gets(8));
    EXPECT_EQ(source.counters().compiles, 1u);
  }
  umount2(cache().c_str(), MNT_DETACH);
}

// From the first write on, so that the store cannot be opened, or from a later one, in a put.
TEST_F(Trouble, DiskThatFailsOrIsOverItsQuota) {
  const std::pair<FaultyVfs::Fault, const char*> kFaults[] = {
      {FaultyVfs::Fault::io_error, "input/output error"},
      {FaultyVfs::Fault::quota, "disk is full"}};
  int round = 0;
  for (const auto& [fault, words] : kFaults) {
    for (const int first : {1, 20}) {
      const fs::path folder = folder_.path() / std::to_string(round++);
      EXPECT_TRUE(Source(options_in(folder), quick()).gets(7));
      FaultyVfs vfs;
      vfs.set(fault, first);
      expect_compiles_and_says_once(options_in(folder), words);
      EXPECT_GE(vfs.count(), first) << "the disk was not asked";
      vfs.set(FaultyVfs::Fault::none, 0);
      Source later(options_in(folder), quick());
      EXPECT_TRUE(later.gets(7));
      EXPECT_EQ(later.counters().disk_hits, 1u) << "what was stored before is lost";
    }
  }
}

TEST_F(Trouble, ForkWithTheStoreOpenAndACompileUnderWay) {
  KILN_FORKS_BESIDE_THREADS();
  Source source(options_in(cache()), quick());
  ASSERT_TRUE(source.gets(1));
  std::thread busy([&] {
    for (int i = 100; i < 110; ++i) EXPECT_TRUE(source.gets(i));
  });
  std::vector<Child> children;
  for (int round = 0; round < 5; ++round) {
    children.emplace_back([&, round] {
      for (int i = 0; i < 3; ++i) {
        if (!source.gets(200 + round * 3 + i)) return 1;
      }
      return source.gets(1) && source.gets(104) ? 0 : 2;
    });
  }
  for (Child& child : children) EXPECT_EQ(child.wait(), 0);
  busy.join();
  EXPECT_EQ(source.counters().cache_errors, 0u);
}

// ---- the right key

TEST_F(OneCompile, ToolchainReplacedUnderTheSameNameIsNoticed) {
  EXPECT_TRUE(Source(options_in(cache()), quick()).gets(1));
  Source other(options_in(cache()), FakeCompiler(
                                        counts(), [] {}, "2"));
  EXPECT_TRUE(other.gets(1));
  EXPECT_EQ(other.counters().compiles, 1u);
  EXPECT_TRUE(Source(options_in(cache()), quick()).gets(1));
  EXPECT_EQ(compiles(), 2u) << "the entry of the first toolchain is still there";
}

TEST_F(OneCompile, CacheFolderAndLogLevelAreNoPartOfTheKey) {
  EXPECT_TRUE(Source(options_in(cache()), quick()).gets(1));
  fs::rename(cache(), folder_.path() / "moved");
  Options options = options_in(folder_.path() / "moved");
  options.log_level = LogLevel::debug;
  Source moved(options, quick());
  EXPECT_TRUE(moved.gets(1));
  EXPECT_EQ(moved.counters().disk_hits, 1u);
}

}  // namespace
}  // namespace kiln::test
