// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "jit/worker/pidfd.h"

extern char** environ;

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr int kSocketOfChild = 3;
constexpr int kFirstOwnDescriptor = 10;  // above those that the child's are put upon
constexpr const char* kOutputName = "output";
constexpr std::streamoff kOutputBytesMax = 4096;

tl::unexpected<Error> cannot_start(const fs::path& program, const char* doing, int error) {
  return fail(ErrorCode::unavailable, fmt::format("kiln-worker '{}' cannot be started: {}: {}",
                                                  program.string(), doing, std::strerror(error)));
}

// posix_spawn's two lists of wishes.
class SpawnWishes {
 public:
  SpawnWishes() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  ~SpawnWishes() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnWishes(const SpawnWishes&) = delete;
  SpawnWishes& operator=(const SpawnWishes&) = delete;

  // 0, or what went wrong.
  int wish(int socket, const std::string& output) {
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    const std::array errors = {
        posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0),
        posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, output.c_str(),
                                         O_WRONLY | O_CREAT | O_APPEND, 0600),
        posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO),
        posix_spawn_file_actions_adddup2(&actions_, socket, kSocketOfChild),
        posix_spawn_file_actions_addclosefrom_np(&actions_, kSocketOfChild + 1),
        posix_spawnattr_setpgroup(&attributes_, 0),
        posix_spawnattr_setsigdefault(&attributes_, &all),
        posix_spawnattr_setsigmask(&attributes_, &none),
        posix_spawnattr_setflags(
            &attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK)};
    const auto wrong = std::find_if(errors.begin(), errors.end(), [](int e) { return e != 0; });
    return wrong == errors.end() ? 0 : *wrong;
  }

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// The host's environment, with a temporary folder of its own and without the cache that newer comgr
// keeps beneath Kiln's.
std::vector<std::string> environment_of_child(const fs::path& folder) {
  std::vector<std::string> variables;
  for (char** variable = environ; variable && *variable; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("TMPDIR=") || text.starts_with("AMD_COMGR_CACHE=")) continue;
    variables.emplace_back(text);
  }
  variables.push_back("TMPDIR=" + folder.string());
  variables.emplace_back("AMD_COMGR_CACHE=0");
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

ProcessEnd describe_end(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) {
    return {ProcessEnd::Kind::exited, fmt::format("exit status {}", info.si_status)};
  }
  const int signal = info.si_status;
  const char* description = sigdescr_np(signal);
  std::string what = fmt::format("signal {}, {}", signal, description ? description : "unnamed");
  for (const int own : {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGTRAP}) {
    if (signal == own) return {ProcessEnd::Kind::crashed, std::move(what)};
  }
  return {ProcessEnd::Kind::killed, std::move(what)};
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(const fs::path& program) {
  std::unique_ptr<WorkerProcess> worker(new WorkerProcess);
  worker->owner_ = getpid();
  std::error_code error;
  std::string folder = (fs::temp_directory_path(error) / "kiln-worker-XXXXXX").string();
  if (error) return cannot_start(program, "temporary folder", error.value());
  if (!mkdtemp(folder.data())) return cannot_start(program, folder.c_str(), errno);
  worker->folder_ = folder;

  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return cannot_start(program, "socketpair", errno);
  }
  worker->socket_.reset(pair[0]);
  const Fd low(pair[1]);
  const Fd theirs(fcntl(low.get(), F_DUPFD_CLOEXEC, kFirstOwnDescriptor));
  if (!theirs) return cannot_start(program, "socket", errno);

  SpawnWishes wishes;
  int spawned = wishes.wish(theirs.get(), (worker->folder_ / kOutputName).string());
  std::vector<std::string> words = {program.string(), fmt::format("{}", kSocketOfChild),
                                    fmt::format("{}", getpid()), folder};
  std::vector<std::string> variables = environment_of_child(worker->folder_);
  pid_t id = -1;
  if (spawned == 0) {
    spawned = posix_spawn(&id, program.c_str(), wishes.actions(), wishes.attributes(),
                          pointers(words).data(), pointers(variables).data());
  }
  if (spawned != 0) return cannot_start(program, "posix_spawn", spawned);
  worker->id_ = id;
  worker->process_.reset(pidfd_open(id, 0));
  if (worker->process_) return worker;
  const int without_pidfd = errno;  // Linux before 5.3, or a sandbox
  ::kill(id, SIGKILL);
  waitpid(id, nullptr, 0);
  worker->ended_ = true;
  return cannot_start(program, "pidfd_open", without_pidfd);
}

WorkerProcess::~WorkerProcess() {
  if (owner_ != getpid()) return;
  if (process_) end(0);
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

const ProcessEnd& WorkerProcess::end(int wait_ms_max) {
  if (ended_) return how_;
  ended_ = true;
  pollfd wanted{process_.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = poll(&wanted, 1, wait_ms_max);
  } while (ready < 0 && errno == EINTR);
  const bool goes_on = ready == 0;
  if (goes_on) pidfd_send_signal(process_.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  int waited = 0;
  do {
    waited = waitid(P_PIDFD, static_cast<id_t>(process_.get()), &info, WEXITED);
  } while (waited != 0 && errno == EINTR);
  how_ = waited == 0 ? describe_end(info)
                     : ProcessEnd{ProcessEnd::Kind::unknown, "a status that nobody told"};
  if (goes_on) how_.kind = ProcessEnd::Kind::ended_here;
  return how_;
}

std::string WorkerProcess::output() const {
  std::ifstream file(folder_ / kOutputName, std::ios::binary | std::ios::ate);
  const std::streamoff size = file.tellg();
  if (size <= 0) return {};
  const std::streamoff kept = std::min(size, kOutputBytesMax);
  file.seekg(size - kept);
  std::string text(static_cast<std::size_t>(kept), '\0');
  file.read(text.data(), kept);
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace kiln
