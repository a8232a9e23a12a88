// SPDX-License-Identifier: Apache-2.0
// kiln-worker: compiles in a process of its own for a process that uses Kiln, which starts it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "jit/worker/server.h"

namespace {

// Negative when `text` is not a number.
int number(const char* text) {
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  return error == std::errc{} && rest == end ? value : -1;
}

}  // namespace

int main(int argc, char** argv) {
  const int socket = argc == 4 ? number(argv[1]) : -1;
  const int parent = argc == 4 ? number(argv[2]) : -1;
  // The folder is removed in the end, so it had better be one that was made for that.
  const std::filesystem::path folder = argc == 4 ? argv[3] : "";
  if (socket < 0 || parent < 0 || fcntl(socket, F_GETFD) < 0 ||
      !folder.filename().string().starts_with("kiln-worker-")) {
    fmt::print(stderr,
               "kiln-worker: usage: kiln-worker SOCKET PARENT FOLDER; Kiln starts it itself, to "
               "compile where a compiler's crash does no harm\n");
    return 2;
  }
  // A vendor's library that aborts would leave the host's folder a core file each time.
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  return kiln::serve_compiles(socket, parent, folder) ? 0 : 1;
}
