// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu_check/jobs.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

namespace kiln::gpu_check {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongest = std::chrono::minutes(2);

struct Child {
  pid_t pid = -1;
  int answer_fd = -1;  // an unnamed file, which holds any amount and needs no reader meanwhile
  Clock::time_point deadline;
  int status = 0;
  bool running = false;
};

Result<void> run_on_card(Options options, const Job& job, Report& report) {
  options.only_implementation = job.implementation;
  KILN_TRY_ASSIGN(const auto runtime, Runtime::create(std::move(options)));
  KILN_TRY_ASSIGN(const Arch any, Arch::parse("sm_90"));
  KILN_TRY_ASSIGN(Driver* const driver, runtime->driver(any));
  KILN_TRY_ASSIGN(const auto devices, driver->devices());
  KILN_TRY_ASSIGN(const auto cuda, CudaCalls::open(runtime->options().drivers.cuda_library));
  const DeviceInfo& device = devices.front();
  report.machine = device.name;
  report.arch = device.arch.name();
  job.run(Card{*runtime, cuda, device.arch}, report);
  return {};
}

// Ends the process; the driver's own clean-up at exit could hang after a kernel that failed.
[[noreturn]] void be_child(const Options& options, const Job& job, int answer_fd) {
  Report report;
  const auto ran = run_on_card(options, job, report);
  if (!ran) report.add(job.section, job.name, fail(ran.error()));
  const std::string answer = report.json();
  const bool told = write(answer_fd, answer.data(), answer.size()) == ssize_t(answer.size());
  std::fflush(nullptr);
  _exit(told ? 0 : 1);
}

Child start(const Options& options, const Job& job) {
  Child child;
  child.answer_fd = memfd_create("gpu_check", MFD_CLOEXEC);
  child.deadline = Clock::now() + kLongest;
  std::fflush(nullptr);
  child.pid = fork();
  if (child.pid == 0) be_child(options, job, child.answer_fd);
  child.running = child.pid > 0;
  return child;
}

std::string answer_of(const Child& child) {
  std::string text;
  char piece[4096];
  lseek(child.answer_fd, 0, SEEK_SET);
  for (ssize_t size; (size = read(child.answer_fd, piece, sizeof piece)) > 0;) {
    text.append(piece, static_cast<std::size_t>(size));
  }
  return text;
}

void finish(const Child& child, const Job& job, Report& report) {
  const bool well = WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0;
  if (child.pid > 0 && well && report.add_json(answer_of(child))) return;
  const std::string how =
      child.pid < 0 ? fmt::format("fork failed: {}", std::strerror(errno))
      : WIFSIGNALED(child.status)
          ? fmt::format("its process died of signal {} ({})", WTERMSIG(child.status),
                        strsignal(WTERMSIG(child.status)))
          : fmt::format("its process ended with {}", child.status);
  report.add(job.section, job.name, Outcome::failed, how);
}

// Waits for one of them to end, and ends those that take too long.
void wait_for_one(std::vector<Child>& children) {
  for (;;) {
    for (Child& child : children) {
      if (!child.running) continue;
      if (Clock::now() > child.deadline) kill(child.pid, SIGKILL);
      if (waitpid(child.pid, &child.status, WNOHANG) != child.pid) continue;
      child.running = false;
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace

void run_jobs(const Options& options, const std::vector<Job>& jobs, std::size_t at_a_time,
              Report& report) {
  std::vector<Child> children;
  const auto running = [&] {
    return static_cast<std::size_t>(
        std::count_if(children.begin(), children.end(), [](const Child& c) { return c.running; }));
  };
  for (const Job& job : jobs) {
    while (running() >= at_a_time) wait_for_one(children);
    children.push_back(start(options, job));
  }
  while (running() > 0) wait_for_one(children);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    finish(children[i], jobs[i], report);
    close(children[i].answer_fd);
  }
}

}  // namespace kiln::gpu_check
