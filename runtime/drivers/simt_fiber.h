// SPDX-License-Identifier: Apache-2.0
// Fiber: where on a stack of its own execution goes on. Stands on Boost's fcontext functions and
// not on its fiber class, which unwinds a stack that it drops: a kernel that waits in a barrier for
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
// memory: whoever drops a fiber calls forget(). One pointer where no sanitizer looks: a barrier
// goes through those of all threads of a block, which should then lie side by side.
struct Fiber {
  using Body = void (*)() noexcept;  // never returns

  boost::context::detail::fcontext_t context = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void* stack = nullptr;  // lowest address
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // while suspended
  bool has_own_stack = false;
#endif
#if defined(__SANITIZE_THREAD__)
  void* sanitizer = nullptr;
  bool made_sanitizer = false;
#endif

  // `body()` begins when somebody switches here; what the stack held is forgotten. The first frame
  // begins `skipped_bytes` below the top.
  template <Body body>
  void start(std::byte* lowest, std::size_t bytes, std::size_t skipped_bytes) {
    forget();
#if defined(__SANITIZE_ADDRESS__)
    stack = lowest;
    stack_bytes = bytes;
    has_own_stack = true;
    __asan_unpoison_memory_region(lowest, bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    sanitizer = __tsan_create_fiber(0);
    made_sanitizer = true;
#endif
    context = boost::context::detail::make_fcontext(lowest + bytes - skipped_bytes,
                                                    bytes - skipped_bytes, &Fiber::enter<body>);
  }

  void forget() {
#if defined(__SANITIZE_ADDRESS__)
    fake_stack = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
    if (made_sanitizer) __tsan_destroy_fiber(sanitizer);
    sanitizer = nullptr;
    made_sanitizer = false;
#endif
    context = nullptr;
  }

  // From `from`, which is running, to `to`. Returns when somebody switches back.
  static void swap(Fiber& from, Fiber& to) {
    Pair pair{&from, &to};
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    if (!from.sanitizer) from.sanitizer = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to.sanitizer, 0);
#endif
    arrived(boost::context::detail::jump_fcontext(to.context, &pair));
  }

 private:
  struct Pair {
    Fiber* from;
    Fiber* to;
  };

  static void arrived(boost::context::detail::transfer_t transfer) {
    const Pair& pair = *static_cast<Pair*>(transfer.data);
    Fiber& left = *pair.from;
    left.context = transfer.fctx;
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(pair.to->fake_stack, &bottom, &size);
    if (!left.has_own_stack) {  // the OS thread's, which nobody told us
      left.stack = bottom;
      left.stack_bytes = size;
    }
#endif
  }

  template <Body body>
  static void enter(boost::context::detail::transfer_t transfer) {
    arrived(transfer);
    body();
  }
};

}  // namespace kiln
