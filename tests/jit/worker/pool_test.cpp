// SPDX-License-Identifier: Apache-2.0
// Worker processes and what they share with their host: as little as possible.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

#include "jit/worker/pidfd.h"
#include "tests/jit/gpu_sample.h"
#include "tests/jit/worker/worker_case.h"
#include "tests/support/process.h"

namespace kiln::test {
namespace {

class PoolOnly : public testing::Test {
 protected:
  static Record check_question() {
    Record request;
    request.add("ask", name_of(Ask::check));
    request.add("compiler", "hiprtc");
    add_input(request, gpu_sample("gfx90a"));
    return request;
  }
};

// Idle, it dies unseen; the next question starts another.
TEST_F(PoolOnly, AWorkerKilledWhileIdleIsReplaced) {
  const NothingLeftBehind nothing;
  WorkerPool pool(isolated_settings(Isolation::hiprtc));
  ASSERT_TRUE(pool.ask(check_question()));
  const std::set<pid_t> workers = workers_of_this_process();
  ASSERT_EQ(workers.size(), 1U);
  kill(*workers.begin(), SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(*workers.begin()), &info, WEXITED | WNOWAIT), 0);
  const auto reply = pool.ask(check_question());
  ASSERT_TRUE(reply) << reply.error().what;
  EXPECT_EQ(pool.counts().started, 2U);
  EXPECT_EQ(pool.counts().failures, 0U);
  EXPECT_FALSE(workers_of_this_process().contains(*workers.begin()));
}

TEST_F(PoolOnly, AHostThatIgnoresItsChildrenIsServedAllTheSame) {
  const NothingLeftBehind nothing;
  signal(SIGCHLD, SIG_IGN);
  {
    WorkerPool pool(isolated_settings(Isolation::hiprtc));
    EXPECT_TRUE(pool.ask(check_question()));
  }
  signal(SIGCHLD, SIG_DFL);
}

// A mask of /proc/<process>/status, without the signals that belong to the C library.
std::uint64_t signals_of(pid_t process, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string word; status >> word;) {
    if (word == name && status >> word) return std::stoull(word, nullptr, 16) & 0x7fffffff;
  }
  return ~std::uint64_t{0};
}

// None of the host's descriptors, signals blocked or ignored, or process group reach the worker.
TEST_F(PoolOnly, AWorkerInheritsNothing) {
  const NothingLeftBehind nothing;
  const Fd inheritable(memfd_create("kiln-inheritable", 0));  // without close-on-exec
  signal(SIGUSR1, SIG_IGN);
  {
    WorkerPool pool(isolated_settings(Isolation::hiprtc));
    ASSERT_TRUE(pool.ask(check_question()));
    const std::set<pid_t> workers = workers_of_this_process();
    ASSERT_EQ(workers.size(), 1U);
    const pid_t worker = *workers.begin();
    EXPECT_NE(getpgid(worker), getpgrp());
    EXPECT_EQ(signals_of(worker, "SigBlk:"), 0U);
    EXPECT_EQ(signals_of(worker, "SigIgn:"), 0U);
    // Input, two of output, the socket, and the pidfd of its parent, which it may open later.
    int descriptors = 0;
    for (const auto& fd :
         std::filesystem::directory_iterator("/proc/" + std::to_string(worker) + "/fd")) {
      std::error_code closed_meanwhile;
      const std::filesystem::path file = std::filesystem::read_symlink(fd.path(), closed_meanwhile);
      EXPECT_EQ(file.string().find("kiln-inheritable"), std::string::npos);
      ++descriptors;
    }
    EXPECT_LE(descriptors, 5);
  }
  signal(SIGUSR1, SIG_DFL);
}

TEST_F(PoolOnly, AForkedChildHasWorkersOfItsOwn) {
  const NothingLeftBehind nothing;
  WorkerPool pool(isolated_settings(Isolation::hiprtc));
  ASSERT_TRUE(pool.ask(check_question()));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    bool good = pool.counts().started == 1;
    good = pool.ask(check_question()).has_value() && good;
    WorkerCounts own;
    own.started = own.answers = 1;
    good = pool.counts() == own && good;
    pool.~WorkerPool();
    _exit(good && !has_children() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ASSERT_TRUE(pool.ask(check_question()));
  EXPECT_EQ(pool.counts().started, 1U) << "the child ended the parent's worker";
}

// However the host ends: its workers go, and so do their folders. The child here forks once more,
// so that another process still holds the socket open.
TEST_F(PoolOnly, WorkersEndWithTheirHost) {
  const NothingLeftBehind nothing;
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe2(ready.data(), O_CLOEXEC), 0);
  const Fd reading(ready[0]);
  Fd writing(ready[1]);
  const pid_t host = fork();
  if (host == 0) {
    alarm(60);
    WorkerPool pool(isolated_settings(Isolation::hiprtc));
    (void)pool.ask(check_question());
    const std::set<pid_t> workers = workers_of_this_process();
    const pid_t worker = workers.empty() ? 0 : *workers.begin();
    const pid_t holder = fork();
    if (holder == 0) {
      alarm(60);
      pause();
    }
    const pid_t ids[] = {worker, holder};
    (void)!write(writing.get(), ids, sizeof ids);
    pause();
  }
  pid_t ids[2] = {};
  writing.reset();
  ASSERT_EQ(read(reading.get(), ids, sizeof ids), static_cast<ssize_t>(sizeof ids));
  ASSERT_GT(ids[0], 0);
  const Fd worker(pidfd_open(ids[0], 0));
  ASSERT_TRUE(worker);
  kill(host, SIGKILL);
  ASSERT_EQ(waitpid(host, nullptr, 0), host);
  pollfd wanted{worker.get(), POLLIN, 0};
  EXPECT_EQ(poll(&wanted, 1, 10'000), 1) << "the worker lives on without its host";
  kill(ids[1], SIGKILL);
  const Fd holder(pidfd_open(ids[1], 0));
  wanted.fd = holder.get();
  if (holder) poll(&wanted, 1, 10'000);
}

TEST(WorkerProgram, SaysHowItIsUsedAndRemovesNothing) {
  const TempFolder folder;
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"0", "1"},
                                                {"x", "1", "kiln-worker-x"},
                                                {"0", "1", folder.path().string()}}) {
    std::vector<std::string> line = {KILN_WORKER_PROGRAM};
    line.insert(line.end(), words.begin(), words.end());
    const ProcessResult result = run_process(line);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find("usage"), std::string::npos) << result.err;
  }
  EXPECT_TRUE(std::filesystem::exists(folder.path()));
}

}  // namespace
}  // namespace kiln::test
