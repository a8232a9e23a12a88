// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan_recorder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "jit/base/handle.h"
#include "jit/base/log.h"
#include "kiln/plan.h"
#include "runtime/plan_format.h"

namespace kiln {
namespace {

using namespace std::chrono_literals;

// Whoever holds the lock needs it for microseconds, unless he was stopped: then a line may come
// twice, which readers bear.
constexpr auto kLockWait = 1s;

tl::unexpected<Error> failed() {
  return fail(ErrorCode::cache_failed, std::strerror(errno));
}

void lock_for_a_while(int file) {
  const auto until = std::chrono::steady_clock::now() + kLockWait;
  while (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(1ms);
  }
}

Result<std::string> read_whole(int file, std::size_t size) {
  std::string text(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got = pread(file, text.data() + have, size - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed();
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

bool has_line(std::string_view text, std::string_view line) {
  for (std::size_t at = text.find(line); at != std::string_view::npos;
       at = text.find(line, at + 1)) {
    const std::size_t end = at + line.size();
    if ((at == 0 || text[at - 1] == '\n') && (end == text.size() || text[end] == '\n')) return true;
  }
  return false;
}

}  // namespace

Result<void> PlanRecorder::append(const std::string& line) {
  // O_NONBLOCK: opening a pipe that nobody reads must not wait.
  const Fd file(open(file_->c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644));
  if (!file) return failed();
  lock_for_a_while(file.get());
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return failed();
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::cache_failed, "not a regular file");
  KILN_TRY_ASSIGN(const std::string text,
                  read_whole(file.get(), static_cast<std::size_t>(status.st_size)));
  std::string added;
  if (text.empty()) {
    added = fmt::format("{} {}\n", kPlanMagic, kPlanVersion);
  } else {
    KILN_TRY(check_plan_header(std::string_view(text).substr(0, text.find('\n'))));
    if (has_line(text, line)) return {};
    if (text.back() != '\n') added = "\n";
  }
  added += line + '\n';
  // One write, so that lines stay whole beside others who append.
  const ssize_t written = write(file.get(), added.data(), added.size());
  if (written == static_cast<ssize_t>(added.size())) return {};
  const int error = written < 0 ? errno : ENOSPC;
  if (written > 0 && ftruncate(file.get(), status.st_size) != 0) return failed();
  return fail(ErrorCode::cache_failed, std::strerror(error));
}

void PlanRecorder::record(const Op& op, const Shape& shape, const Arch& arch) {
  if (!file_) return;
  const std::lock_guard lock(mutex_);
  if (broken_) return;
  const std::string line = plan_line(op, shape, arch);
  if (!recorded_.insert(line).second) return;
  const auto appended = append(line);
  if (appended) return;
  broken_ = true;
  log(LogLevel::warning, fmt::format("KILN_RECORD_PLAN='{}': {}; requests are not recorded",
                                     file_->string(), appended.error().message));
}

}  // namespace kiln
