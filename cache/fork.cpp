// SPDX-License-Identifier: Apache-2.0
#include "cache/fork.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace kiln {
namespace {

struct Registry {
  std::mutex mutex;  // held from before() to after()
  std::vector<const ForkRegistration*> registered;
};

Registry& registry();

void before_fork() {
  registry().mutex.lock();
  for (const ForkRegistration* each : registry().registered) each->hooks().before();
}

void after_fork(ForkSide side) {
  std::vector<const ForkRegistration*>& all = registry().registered;
  for (auto each = all.rbegin(); each != all.rend(); ++each) (*each)->hooks().after(side);
  registry().mutex.unlock();
}

Registry& registry() {
  // Never destroyed: a process may fork while its static objects are going away.
  static Registry* const instance = [] {
    pthread_atfork(
        before_fork, [] { after_fork(ForkSide::parent); }, [] { after_fork(ForkSide::child); });
    return new Registry;
  }();
  return *instance;
}

// Made at load time: a fork while another thread makes it would leave the child a half-made one.
[[maybe_unused]] const Registry& made_at_load = registry();

}  // namespace

ForkRegistration::ForkRegistration(ForkHooks hooks) : hooks_(std::move(hooks)) {
  const std::lock_guard lock(registry().mutex);
  registry().registered.push_back(this);
}

ForkRegistration::~ForkRegistration() {
  const std::lock_guard lock(registry().mutex);
  std::erase(registry().registered, this);
}

}  // namespace kiln
