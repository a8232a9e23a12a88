// SPDX-License-Identifier: Apache-2.0
#include "tools/line_printer.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "tools/page.h"

namespace kiln::cli {
namespace {

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

LinePrinter::LinePrinter(Progress progress)
    : silent_(progress == Progress::silent),
      terminal_(isatty(STDERR_FILENO) == 1 && !is_dumb_terminal()) {}

LinePrinter::~LinePrinter() {
  clear();
}

void LinePrinter::clear() {
  if (dirty_) fmt::print(stderr, "\r\x1b[K");
  dirty_ = false;
}

void LinePrinter::update(std::string_view text) {
  if (silent_) return;
  const std::lock_guard lock(mutex_);
  if (!terminal_) {
    fmt::print(stderr, "{}\n", text);
    return;
  }
  clear();
  // A line longer than the terminal would wrap and could not be overwritten.
  fmt::print(stderr, "{}", text.substr(0, terminal_columns() - 1));
  std::fflush(stderr);
  dirty_ = true;
}

void LinePrinter::line(std::string_view text) {
  if (silent_) return;
  const std::lock_guard lock(mutex_);
  clear();
  fmt::print(stderr, "{}\n", text);
}

}  // namespace kiln::cli
