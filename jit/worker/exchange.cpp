// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/exchange.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "jit/worker/process_memory.h"

namespace kiln {
namespace {

using Clock = std::chrono::steady_clock;
using Failure = tl::unexpected<WorkerFailure>;

// How often the limits are looked at. Most compiles take longer, and a look costs microseconds.
constexpr int kLookIntervalMs = 20;
// From the end of the stream to that of the process, which an honest one reaches at once.
constexpr int kEndWaitMsMax = 1000;

class Exchange {
 public:
  Exchange(WorkerProcess& worker, const WorkerLimits& limits, const std::stop_token& stop)
      : worker_(worker),
        limits_(limits),
        stop_(stop),
        deadline_(Clock::now() + std::chrono::milliseconds(limits.time_ms_max)) {}

  tl::expected<Record, WorkerFailure> run(const Frame& request) {
    if (auto sent = send_all(encode_frame(request)); !sent) return Failure(sent.error());
    FrameReader reader;
    for (;;) {
      auto frame = reader.next();
      if (!frame) return broken(frame.error().message);
      if (*frame) return check(request, **frame, reader);
      if (auto ready = wait_for(POLLIN); !ready) return Failure(ready.error());
      const ssize_t got = recv(worker_.socket(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (got > 0) reader.append({buffer_.data(), static_cast<std::size_t>(got)});
      if (got == 0 || (got < 0 && errno == ECONNRESET)) return ended(reader);
    }
  }

 private:
  tl::expected<Record, WorkerFailure> check(const Frame& request, const Frame& reply,
                                            const FrameReader& reader) {
    if (reply.kind != FrameKind::reply || reply.sequence != request.sequence) {
      return broken("its answer is to another question");
    }
    if (!reader.between_frames()) return broken("it sent more than an answer");
    auto record = Record::parse(reply.payload);
    if (!record) return broken(record.error().message);
    return std::move(*record);
  }

  tl::expected<void, WorkerFailure> send_all(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent =
          send(worker_.socket(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
        continue;
      }
      if (errno == EPIPE || errno == ECONNRESET) return ended({});
      if (auto ready = wait_for(POLLOUT); !ready) return ready;
    }
    return {};
  }

  // Until the socket is ready, or it is over: the limits and `stop` are looked at meanwhile.
  tl::expected<void, WorkerFailure> wait_for(short events) {
    for (;;) {
      pollfd wanted{worker_.socket(), events, 0};
      if (poll(&wanted, 1, kLookIntervalMs) > 0) return {};
      if (stop_.stop_requested()) return over(WorkerFault::cancelled, "was stopped on request");
      if (Clock::now() >= deadline_) {
        return over(WorkerFault::timed_out,
                    fmt::format("did not finish within {} ms and was killed", limits_.time_ms_max));
      }
      const auto memory = memory_of(worker_.id());
      if (memory && memory->resident_bytes > limits_.memory_bytes_max) {
        return over(WorkerFault::out_of_memory,
                    fmt::format("took {} MiB of memory, more than the {} that are allowed, and was "
                                "killed",
                                memory->resident_bytes >> 20, limits_.memory_bytes_max >> 20));
      }
    }
  }

  Failure over(WorkerFault fault, std::string what) {
    worker_.end(0);
    return Failure({fault, std::move(what), worker_.output()});
  }

  Failure broken(const std::string& how) {
    return over(WorkerFault::broken, fmt::format("gave no usable answer: {}", how));
  }

  // The stream is at its end.
  Failure ended(const FrameReader& reader) {
    const ProcessEnd& end = worker_.end(kEndWaitMsMax);
    if (end.kind == ProcessEnd::Kind::killed || end.kind == ProcessEnd::Kind::unknown) {
      return over(WorkerFault::killed, fmt::format("was ended by {}", end.what));
    }
    if (end.kind == ProcessEnd::Kind::ended_here) return broken("it closed its socket");
    // Half an answer, and then an orderly end: it was no compiler that did this.
    if (!reader.between_frames() && end.kind == ProcessEnd::Kind::exited) {
      return broken("its answer was cut short");
    }
    return over(WorkerFault::died, fmt::format("ended with {}", end.what));
  }

  WorkerProcess& worker_;
  const WorkerLimits& limits_;
  const std::stop_token& stop_;
  const Clock::time_point deadline_;
  std::array<char, std::size_t{64} << 10> buffer_;
};

}  // namespace

tl::expected<Record, WorkerFailure> exchange(WorkerProcess& worker, std::uint64_t sequence,
                                             std::string payload, const WorkerLimits& limits,
                                             const std::stop_token& stop) {
  return Exchange(worker, limits, stop).run({FrameKind::request, sequence, std::move(payload)});
}

}  // namespace kiln
