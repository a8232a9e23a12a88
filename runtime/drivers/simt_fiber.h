// SPDX-License-Identifier: Apache-2.0
// Fiber: a stack, and where on it execution goes on. Stands on Boost's fcontext functions and not
// on its fiber class, which unwinds a stack that it drops: a kernel that waits in a barrier for
// ever has no unwind tables.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace kiln {

// Stays on one OS thread. A default-constructed one stands for the thread's own stack. Plain
// memory: whoever drops a fiber calls forget().
struct Fiber {
  using Body = void (*)(void* argument) noexcept;  // never returns

  boost::context::detail::fcontext_t context = nullptr;
  const void* stack = nullptr;  // lowest address
  std::size_t stack_bytes = 0;
  void* sanitizer = nullptr;  // ASan's fake stack while suspended; TSan's fiber
  Body body = nullptr;
  void* argument = nullptr;

  // `body(argument)` begins when somebody switches here; what the stack held is forgotten. The
  // first frame begins `skipped_bytes` below the top.
  void start(std::byte* lowest, std::size_t bytes, std::size_t skipped_bytes, Body first,
             void* with) {
    forget();
    stack = lowest;
    stack_bytes = bytes;
    body = first;
    argument = with;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(lowest, bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    sanitizer = __tsan_create_fiber(0);
#endif
    context = boost::context::detail::make_fcontext(lowest + bytes - skipped_bytes,
                                                    bytes - skipped_bytes, &Fiber::enter);
  }

  void forget() {
#if defined(__SANITIZE_THREAD__)
    if (sanitizer && body) __tsan_destroy_fiber(sanitizer);
#endif
    sanitizer = nullptr;
    context = nullptr;
  }

  // From `from`, which is running, to `to`. Returns when somebody switches back.
  static void swap(Fiber& from, Fiber& to) {
    Pair pair{&from, &to};
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from.sanitizer, to.stack, to.stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    if (!from.sanitizer) from.sanitizer = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to.sanitizer, 0);
#endif
    arrived(boost::context::detail::jump_fcontext(to.context, &pair), from);
  }

 private:
  struct Pair {
    Fiber* from;
    Fiber* to;
  };

  static void arrived(boost::context::detail::transfer_t transfer, Fiber& here) {
    Fiber& left = *static_cast<Pair*>(transfer.data)->from;
    left.context = transfer.fctx;
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(here.sanitizer, &bottom, &size);
    if (!left.body) {  // the thread's own stack, which nobody told us
      left.stack = bottom;
      left.stack_bytes = size;
    }
#endif
    (void)here;
  }

  static void enter(boost::context::detail::transfer_t transfer) {
    Fiber& here = *static_cast<Pair*>(transfer.data)->to;
    arrived(transfer, here);
    here.body(here.argument);
  }
};

}  // namespace kiln
