// SPDX-License-Identifier: Apache-2.0
// One byte of kernels.lock per key, locked by OFD locks: unlike POSIX record locks they exclude two
// descriptors of one process and survive that some other descriptor of the file is closed, and
// unlike flock() one file serves all keys.
#include "cache/lease.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "cache/fork.h"
#include "jit/base/handle.h"

namespace kiln {
namespace {

using Clock = std::chrono::steady_clock;

// There is no lock with a time limit, and a signal to break a blocking one is the host's to use.
constexpr std::chrono::microseconds kPollMin{200};
constexpr std::chrono::microseconds kPollMax{20'000};

// Two keys that meet in these 62 bits would wait for each other's compile, no worse.
off_t offset_of(const Key& key) {
  const std::uint64_t bits = key.request.prefix() ^ std::rotl(key.toolchain.prefix(), 32);
  return static_cast<off_t>(bits >> 2);
}

// The open lock file, shared by the LeaseFile and the leases that it gave out.
class LockedBytes {
 public:
  explicit LockedBytes(std::filesystem::path file) : file_(std::move(file)), fork_(fork_hooks()) {}

  Result<void> open() {
    const std::lock_guard lock(mutex_);
    return open_in_this_process();
  }

  // Which opening of the file holds the byte now; nothing when somebody else has it.
  Result<std::optional<std::uint64_t>> try_lock(off_t offset) {
    const std::lock_guard lock(mutex_);
    KILN_TRY(open_in_this_process());
    // The kernel lets a descriptor lock again what it has locked, so threads need this set.
    const auto [at, fresh] = held_.insert(offset);
    if (!fresh) return std::nullopt;
    if (set_lock(F_WRLCK, offset) == 0) {
      if (is_the_named_file()) return opening_;
      // Somebody cleaned the folder: who comes now locks another file of that name.
      held_.erase(at);
      fd_.reset();
      KILN_TRY(open_in_this_process());
      held_.insert(offset);
      if (set_lock(F_WRLCK, offset) == 0) return opening_;
      held_.erase(offset);
      return std::nullopt;
    }
    const int error = errno;
    held_.erase(at);
    if (error == EAGAIN || error == EACCES) return std::nullopt;
    return fail(ErrorCode::cache_failed,
                fmt::format("cannot lock '{}': {}", file_.string(), std::strerror(error)));
  }

  // Does nothing in a child, whose parent's lease it would end.
  void unlock(off_t offset, std::uint64_t opening) {
    if (opened_by_ != getpid()) return;
    const std::lock_guard lock(mutex_);
    if (opening != opening_) return;
    set_lock(F_UNLCK, offset);
    held_.erase(offset);
  }

 private:
  int set_lock(short type, off_t offset) const {
    struct flock range = {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = offset;
    range.l_len = 1;
    return fcntl(fd_.get(), F_OFD_SETLK, &range);
  }

  bool is_the_named_file() const {
    struct stat opened;
    struct stat named;
    return fstat(fd_.get(), &opened) == 0 && stat(file_.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
  }

  Result<void> open_in_this_process() {
    if (fd_ && opened_by_ == getpid()) return {};
    held_.clear();
    fd_.reset(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd_) {
      return fail(ErrorCode::cache_failed, fmt::format("cannot open the lock file '{}': {}",
                                                       file_.string(), std::strerror(errno)));
    }
    opened_by_ = getpid();
    ++opening_;
    return {};
  }

  // A descriptor that a child keeps would keep its dead parent's leases.
  ForkHooks fork_hooks() {
    return {[this] { mutex_.lock(); },
            [this](ForkSide side) {
              if (side == ForkSide::child) {
                fd_.reset();
                ++opening_;
              }
              mutex_.unlock();
            }};
  }

  const std::filesystem::path file_;
  std::mutex mutex_;
  Fd fd_;
  std::atomic<pid_t> opened_by_{0};
  std::uint64_t opening_ = 0;  // tells the leases of this process from those of its parent
  std::set<off_t> held_;
  const ForkRegistration fork_;
};

class HeldLease final : public Lease {
 public:
  HeldLease(std::shared_ptr<LockedBytes> bytes, off_t offset, std::uint64_t opening)
      : bytes_(std::move(bytes)), offset_(offset), opening_(opening) {}
  ~HeldLease() override { bytes_->unlock(offset_, opening_); }

 private:
  const std::shared_ptr<LockedBytes> bytes_;
  const off_t offset_;
  const std::uint64_t opening_;
};

class OfdLeaseFile final : public LeaseFile {
 public:
  explicit OfdLeaseFile(std::shared_ptr<LockedBytes> bytes) : bytes_(std::move(bytes)) {}

  Result<LeaseOutcome> acquire(const Key& key, int wait_ms_max,
                               const std::stop_token& stop) override {
    const off_t offset = offset_of(key);
    const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(wait_ms_max);
    LeaseOutcome outcome;
    for (auto pause = kPollMin;; pause = std::min(2 * pause, kPollMax)) {
      KILN_TRY_ASSIGN(const std::optional<std::uint64_t> opening, bytes_->try_lock(offset));
      if (opening) {
        outcome.lease = std::make_unique<HeldLease>(bytes_, offset, *opening);
        return outcome;
      }
      outcome.waited = true;
      if (stop.stop_requested()) {
        return fail(ErrorCode::cancelled, "given up while another process was compiling it");
      }
      const auto left =
          std::chrono::duration_cast<std::chrono::microseconds>(deadline - Clock::now());
      if (left.count() <= 0) return outcome;
      std::this_thread::sleep_for(std::min(pause, left));
    }
  }

 private:
  const std::shared_ptr<LockedBytes> bytes_;
};

}  // namespace

Result<std::unique_ptr<LeaseFile>> LeaseFile::open(const std::filesystem::path& folder) {
  auto bytes = std::make_shared<LockedBytes>(std::filesystem::absolute(folder) / "kernels.lock");
  KILN_TRY(bytes->open());
  return std::make_unique<OfdLeaseFile>(std::move(bytes));
}

}  // namespace kiln
