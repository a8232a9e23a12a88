// SPDX-License-Identifier: Apache-2.0
// Lets one thread open a GPU driver while the others wait, and tells a forked child that what its
// parent opened is of no use to it.
#pragma once

#include <atomic>

namespace kiln {

// How many forks lie between this process and the one that first asked: equal numbers mean the
// same process. Counts plain fork(), as pthread_atfork does.
int fork_generation();

// One atomic, no mutex: a child that is forked while another thread opens could never lock that.
class GpuOpenGate {
 public:
  enum class Turn {
    open_it,        // this thread opens, then calls open() or close(); the others wait
    is_open,        // open() was called in this process
    other_process,  // a parent of this process opened, or was opening
  };
  Turn enter();
  void open();   // it worked
  void close();  // it did not; the next enter() may try again

 private:
  void leave(int state);

  std::atomic<int> state_{0};
};

}  // namespace kiln
