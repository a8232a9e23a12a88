// SPDX-License-Identifier: Apache-2.0
// What must happen around fork(): a child has one thread, and every lock and descriptor of its
// parent.
//
// Whoever holds locks or descriptors that a child must not inherit as they are registers here. The
// hooks run in plain fork() alone: posix_spawn, vfork and _Fork run none.
#pragma once

#include <functional>

namespace kiln {

enum class ForkSide { parent, child };

struct ForkHooks {
  // On the forking thread, before: take the locks, so that the child finds them in a known state.
  std::function<void()> before;
  // On the forking thread, after, in both processes: release them.
  std::function<void(ForkSide)> after;
};

// Registered from construction to destruction; make it the last member of its owner. Hooks must not
// create or destroy registrations, and no lock that they take may be held while one is created.
class ForkRegistration {
 public:
  explicit ForkRegistration(ForkHooks hooks);
  ~ForkRegistration();
  ForkRegistration(const ForkRegistration&) = delete;
  ForkRegistration& operator=(const ForkRegistration&) = delete;

  const ForkHooks& hooks() const { return hooks_; }

 private:
  ForkHooks hooks_;
};

}  // namespace kiln
