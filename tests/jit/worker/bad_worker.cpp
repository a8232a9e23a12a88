// SPDX-License-Identifier: Apache-2.0
// A kiln-worker that starts well and then misbehaves, in the way that KILN_BAD_WORKER names.
// "late_" before it: the first question after the start is answered well, as a worker that was used
// would.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "jit/worker/frame.h"
#include "jit/worker/protocol.h"

namespace kiln::test {
namespace {

constexpr int kSocket = 3;

Frame receive() {
  static FrameReader reader;
  for (;;) {
    auto frame = reader.next();
    if (!frame) _exit(9);
    if (*frame) return std::move(**frame);
    char buffer[65536];
    const ssize_t got = recv(kSocket, buffer, sizeof buffer, 0);
    if (got <= 0) _exit(0);
    reader.append({buffer, static_cast<std::size_t>(got)});
  }
}

void write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(kSocket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) _exit(0);
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string good_reply(std::uint64_t sequence) {
  return encode_frame({FrameKind::reply, sequence, reply_of({}).text()});
}

void eat_memory() {
  std::vector<std::string> eaten;
  for (;;) eaten.emplace_back(std::size_t{16} << 20, 'x');
}

void lie_about_the_size(std::uint64_t sequence, std::uint64_t claimed) {
  std::string bytes = good_reply(sequence);
  std::memcpy(bytes.data() + 16, &claimed, sizeof claimed);
  write_all(bytes);
  pause();
}

// Whatever it does, it has read the question; then the file that KILN_BAD_WORKER_READ names exists.
void misbehave(const std::string& how, std::uint64_t sequence) {
  std::cerr << "the worker's last words\n";
  if (const char* file = std::getenv("KILN_BAD_WORKER_READ")) std::ofstream(file).put('1');
  if (how == "abort") std::abort();
  if (how == "segfault") {
    signal(SIGSEGV, SIG_DFL);  // a sanitizer would have words of its own
    raise(SIGSEGV);
  }
  if (how == "killed") raise(SIGKILL);
  if (how == "terminated") raise(SIGTERM);
  if (how == "exit") _exit(3);
  if (how == "hang") pause();
  if (how == "spin") {
    for (std::atomic<int> i = 0;; ++i) {
    }
  }
  if (how == "memory") eat_memory();
  if (how == "garbage") write_all(std::string(4096, '\x5a'));
  if (how == "cut_short") {
    write_all(std::string_view(good_reply(sequence)).substr(0, 40));
    _exit(0);
  }
  if (how == "half_then_hang") {
    write_all(std::string_view(good_reply(sequence)).substr(0, 40));
    pause();
  }
  if (how == "flipped") {
    std::string bytes = good_reply(sequence);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_all(bytes);
  }
  if (how == "too_long") lie_about_the_size(sequence, std::uint64_t{1} << 60);
  if (how == "longer") lie_about_the_size(sequence, 100'000'000);
  if (how == "shorter") lie_about_the_size(sequence, 3);
  if (how == "other_question") write_all(good_reply(sequence + 1));
  if (how == "twice") write_all(good_reply(sequence) + good_reply(sequence));
  if (how == "a_question") {
    write_all(encode_frame({FrameKind::request, sequence, reply_of({}).text()}));
  }
  if (how == "no_record") {
    write_all(encode_frame({FrameKind::reply, sequence, "no record at all"}));
  }
  if (how == "no_artifact") write_all(good_reply(sequence));
  if (how == "closes") {
    close(kSocket);
    pause();
  }
  pause();
}

int run() {
  const char* variable = std::getenv("KILN_BAD_WORKER");
  std::string how = variable ? variable : "";
  if (how == "at_start") std::abort();
  int good_answers = 1;  // the start
  if (how.starts_with("late_")) {
    how = how.substr(5);
    ++good_answers;
  }
  for (;;) {
    const Frame question = receive();
    if (good_answers-- > 0) {
      write_all(good_reply(question.sequence));
    } else {
      misbehave(how, question.sequence);
    }
  }
}

}  // namespace
}  // namespace kiln::test

int main() {
  return kiln::test::run();
}
