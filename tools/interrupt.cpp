// SPDX-License-Identifier: Apache-2.0
#include "tools/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace kiln::cli {
namespace {

constexpr int kTickMs = 250;

}  // namespace

Interrupt::Interrupt(Calls calls) : calls_(std::move(calls)) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
  signal_ = Fd(signalfd(-1, &signals_, SFD_CLOEXEC));
  end_ = Fd(eventfd(0, EFD_CLOEXEC));
  watcher_ = std::thread([this] { watch(); });
}

Interrupt::~Interrupt() {
  eventfd_write(end_.get(), 1);
  watcher_.join();
  pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

void Interrupt::watch() {
  pollfd wanted[] = {{signal_.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}};
  while (true) {
    poll(wanted, 2, kTickMs);
    if (wanted[1].revents) return;
    if (wanted[0].revents & POLLIN) take_signal();
    calls_.on_tick();
  }
}

void Interrupt::take_signal() {
  signalfd_siginfo info{};
  if (read(signal_.get(), &info, sizeof info) != sizeof info) return;
  if (stop_.request_stop()) return calls_.on_stop();
  const int number = static_cast<int>(info.ssi_signo);
  std::signal(number, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
  std::raise(number);
}

}  // namespace kiln::cli
