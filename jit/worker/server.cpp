// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "jit/base/handle.h"
#include "jit/worker/frame.h"
#include "jit/worker/pidfd.h"
#include "jit/worker/process_memory.h"
#include "jit/worker/protocol.h"

namespace kiln {
namespace {

constexpr int kIdleTimeMsMax = 60'000;

// A compile cannot be interrupted, so a thread of its own sees the parent end. Not by
// PR_SET_PDEATHSIG: that fires when the thread ends which started this process. Not by the socket
// alone: a forked child of the parent would hold it open.
void end_with_parent(int socket, pid_t parent, const std::filesystem::path& folder) {
  std::thread([socket, parent, folder] {
    const Fd process(pidfd_open(parent, 0));
    // Without a pidfd, look now and then. The first look is for a parent that is gone already.
    for (int wait_ms = 0;; wait_ms = process ? -1 : 1000) {
      std::array<pollfd, 2> wanted{{{process.get(), POLLIN, 0}, {socket, POLLRDHUP, 0}}};
      poll(wanted.data(), wanted.size(), wait_ms);
      if (wanted[0].revents == 0 && wanted[1].revents == 0 && getppid() == parent) continue;
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
      _exit(0);
    }
  }).detach();
}

Compiler* compiler_named(const Compilers& compilers, std::string_view name) {
  for (Compiler* compiler : compilers.all()) {
    if (compiler->name() == name) return compiler;
  }
  return nullptr;
}

class Server {
 public:
  Record answer(const Record& request) {
    Record said;
    const auto done = answer(request, said);
    Record reply = reply_of(done);
    for (const Record::Field& field : said.fields()) reply.add(field.name, field.value);
    return reply;
  }

 private:
  Result<void> answer(const Record& request, Record& reply) {
    const auto ask = ask_of(request);
    if (!ask) return fail(ErrorCode::internal, "kiln-worker: an unknown question");
    if (*ask == Ask::start) return start(request);
    Compiler* compiler =
        compilers_ ? compiler_named(*compilers_, request.find("compiler").value_or("")) : nullptr;
    if (!compiler) return fail(ErrorCode::internal, "kiln-worker: an unknown compiler");
    if (*ask == Ask::can_compile) {
      KILN_TRY_ASSIGN(const Arch arch, Arch::parse(request.find("arch").value_or("")));
      const Answer can = compiler->can_compile(arch);
      if (!can) return fail(ErrorCode::unavailable, can.reason());
      reply.add("note", can.note());
      return {};
    }
    if (*ask == Ask::describe) {
      Compiler::Description found;
      auto description = compiler->describe(&found.attempts);
      add_description(reply, description ? *description : found);
      KILN_TRY(description);
      return {};
    }
    KILN_TRY_ASSIGN(const CompileInput input, input_of(request));
    if (*ask == Ask::check) return input.check();
    if (*ask == Ask::emit) {
      KILN_TRY_ASSIGN(const std::string text,
                      compiler->emit(input, request.find("kind").value_or("")));
      reply.add("text", text);
      return {};
    }
    KILN_TRY_ASSIGN(Artifact artifact, compiler->compile(input));
    if (const auto memory = memory_of(getpid())) artifact.memory_bytes_peak = memory->peak_bytes;
    // What compiled, so that the one who asked can see that it is what its key names.
    KILN_TRY_ASSIGN(const Record toolchain, compiler->toolchain());
    reply.add("toolchain", toolchain.digest().hex());
    add_artifact(reply, artifact);
    return {};
  }

  Result<void> start(const Record& request) {
    if (request.find("protocol") != protocol()) {
      return fail(ErrorCode::unavailable,
                  "kiln-worker is of another build of Kiln; name this one's by KILN_WORKER");
    }
    KILN_TRY_ASSIGN(CompilerSettings settings, settings_of(request));
    settings.isolation = Isolation::off;  // this process is the isolated one
    settings.unlisted_archs = UnlistedArchs::tried;
    compilers_.emplace(std::move(settings));
    return {};
  }

  std::optional<Compilers> compilers_;
};

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// The next bytes; none at the end, and when nothing came for too long.
std::string_view receive_some(int socket, std::span<char> buffer) {
  for (;;) {
    pollfd wanted{socket, POLLIN, 0};
    const int ready = poll(&wanted, 1, kIdleTimeMsMax);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return {};
    const ssize_t got = recv(socket, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    return {buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  }
}

}  // namespace

bool serve_compiles(int socket, pid_t parent, const std::filesystem::path& folder) {
  end_with_parent(socket, parent, folder);
  Server server;
  FrameReader reader;
  std::vector<char> buffer(std::size_t{256} << 10);
  for (;;) {
    const auto frame = reader.next();
    if (!frame) return false;
    if (!*frame) {
      const std::string_view bytes = receive_some(socket, buffer);
      if (bytes.empty()) return reader.between_frames();
      reader.append(bytes);
      continue;
    }
    const auto request = Record::parse((*frame)->payload);
    if ((*frame)->kind != FrameKind::request || !request) return false;
    // What a vendor's library prints belongs to the request during which it does.
    (void)!ftruncate(STDERR_FILENO, 0);
    const Record reply = server.answer(*request);
    if (!send_all(socket, encode_frame({FrameKind::reply, (*frame)->sequence, reply.text()}))) {
      return true;
    }
  }
}

}  // namespace kiln
