// SPDX-License-Identifier: Apache-2.0
// Kernels before their first call, and after the last.
#include <condition_variable>

#include "runtime/runtime_impl.h"

namespace kiln {

struct __attribute__((visibility("hidden"))) Prefetch::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Result<void>> result;

  void finish(Result<void> with) {
    {
      const std::lock_guard lock(mutex);
      result = std::move(with);
    }
    changed.notify_all();
  }
};

bool Prefetch::done() const {
  const std::lock_guard lock(state_->mutex);
  return state_->result.has_value();
}

Result<void> Prefetch::wait() const {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->result.has_value(); });
  return *state_->result;
}

Result<Prefetch> Runtime::prefetch(const KernelRequest& request) {
  KILN_TRY_ASSIGN(const CallKey key, impl_->calls.key_of(request));
  auto state = std::make_shared<Prefetch::State>();
  impl_->background.post(
      {[state, key, impl = impl_.get()] { state->finish(impl->calls.prepare(key)); },
       [state] {
         state->finish(
             fail(ErrorCode::unavailable, "the Runtime ended before this prefetch had begun"));
       }});
  return Prefetch(std::move(state));
}

Result<bool> Runtime::ready(const KernelRequest& request) const {
  KILN_TRY_ASSIGN(const CallKey key, impl_->calls.key_of(request));
  return impl_->calls.is_prepared(key);
}

Result<void> Runtime::load(const KernelRequest& request) {
  KILN_TRY_ASSIGN(const CallKey key, impl_->calls.key_of(request));
  return impl_->calls.prepare(key);
}

Result<int> Runtime::unload(const KernelRequest& request) {
  KILN_TRY_ASSIGN(const CallKey key, impl_->calls.key_of(request));
  const auto call = impl_->calls.forget(key);
  if (!call) return 0;
  int count = 0;
  for (const CallCandidate& candidate : call->candidates) {
    if (candidate.kernel.load(std::memory_order_acquire)) ++count;
    impl_->kernels.erase(
        Impl::name_of_kernel(*candidate.implementation, call->shape, call->arch, call->device));
  }
  return count;
}

}  // namespace kiln
