// SPDX-License-Identifier: Apache-2.0
// Calls: what a call of an op needs (arch, implementations, loaded kernels), worked out once and
// then found by a small key of integers.
#pragma once

#include <dlpack/dlpack.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/flight_cache.h"
#include "kiln/runtime.h"
#include "runtime/packed_shape.h"

namespace kiln {

struct CallKey {
  PackedShape shape;
  DLDevice device;
  std::string_view arch;  // the one that the caller names; empty: the device's own

  friend bool operator==(const CallKey& a, const CallKey& b) {
    return a.device.device_type == b.device.device_type &&
           a.device.device_id == b.device.device_id && a.shape == b.shape && a.arch == b.arch;
  }
};

}  // namespace kiln

template <>
struct std::hash<kiln::CallKey> {
  // The arch is left to the comparison: nearly every process calls for one arch per device.
  std::size_t operator()(const kiln::CallKey& key) const noexcept {
    const auto device = static_cast<std::uint64_t>(key.device.device_type) << 32 |
                        static_cast<std::uint32_t>(key.device.device_id);
    return key.shape.hash() ^ (device * 0x9e3779b97f4a7c15ULL);
  }
};

namespace kiln {

// Why a better implementation written for the arch does not serve.
enum class FallBackKind {
  not_built,   // not for this shape or arch, or it is disabled
  not_served,  // not these arguments
  lost,        // its kernel cannot be had
};

// An implementation that can be built for the call's shape and arch.
struct CallCandidate {
  CallCandidate(const Implementation* which, const Shape& shape, const CallCandidate* better)
      : implementation(which),
        serves_as_better(better && better->implementation->can_serve == which->can_serve),
        can_serve(which->can_serve.bind(shape)),
        is_best(which->is_best.bind(shape)),
        plan(which->plan.bind(shape)) {}

  const Implementation* const implementation;
  const bool serves_as_better;  // what the next better one can serve, and nothing else
  const ShapeFunction<Answer>::Bound can_serve;
  const ShapeFunction<Answer>::Bound is_best;  // empty: always
  const ShapeFunction<LaunchPlan>::Bound plan;
  std::atomic<const Kernel*> kernel{nullptr};  // set once, owned by `owner`
  std::atomic<bool> passed_over{false};        // its kernel cannot be had, and another one serves
  std::atomic<bool> refused{false};            // a call that it cannot serve was told of
  std::shared_ptr<const Kernel> owner;         // guarded by ResolvedCall::mutex
};

struct ResolvedCall {
  ResolvedCall(const CallKey& key, Arch its_arch)
      : op(key.shape.op()),
        shape(key.shape.shape()),
        arch(std::move(its_arch)),
        device(key.device.device_id) {}

  const Op& op;
  const Shape shape;
  const Arch arch;
  const int device;
  std::mutex mutex;
  std::deque<CallCandidate> candidates;  // best first
};

// Thread-safe. A call whose kernel is loaded takes no lock and allocates nothing.
class Calls {
 public:
  using CallPointer = std::shared_ptr<const ResolvedCall>;

  explicit Calls(Runtime& runtime);

  // Launches the op on `params`. Errors: those of call_op().
  Result<void> launch(const CallKey& key, const void* params, const CallOptions& options);

  // Loads every kernel that can be built for `key`, as far as it can be had. Errors: the first of
  // those that kept all of them from being loaded.
  Result<void> prepare(const CallKey& key);
  // Whether prepare() has nothing left to do. Never waits.
  bool is_prepared(const CallKey& key) const;
  // Forgets what is known of `key` and returns it, null when nothing is; who holds it last unloads
  // its kernels.
  CallPointer forget(const CallKey& key);

  // The key of a request. Errors: invalid_argument.
  Result<CallKey> key_of(const KernelRequest& request);

 private:
  Result<CallPointer> find(const CallKey& key);
  Result<CallPointer> resolve(const CallKey& key);
  Result<const Kernel*> load(ResolvedCall& call, CallCandidate& candidate, Stream stream);
  // Which candidates a launch asks: those that are best for it, or the others too.
  enum class Choice { best, any };
  struct NotServing {
    std::vector<std::pair<CallCandidate*, Error>> lost;  // could serve and cannot be had
    CallCandidate* refused = nullptr;  // the first one that cannot serve, where nobody was told yet
    std::string reason;
  };
  // Null: none of them can be had.
  Result<CallCandidate*> choose(ResolvedCall& call, const void* params, Stream stream,
                                Choice choice, NotServing& others);
  void tell(const ResolvedCall& call, const NotServing& others, const CallCandidate& served);
  Selection selection_of(const ResolvedCall& call, const CallCandidate& served,
                         const void* params) const;
  std::string_view lasting(std::string_view arch);
  void tell_lost(const ResolvedCall& call, const CallCandidate& broken, const Error& error,
                 const CallCandidate& instead);
  // Counts a fall-back, and logs the first of its kind for `better`.
  void note_fall_back(FallBackKind kind, const Implementation& better, std::string_view reason,
                      const Implementation& instead);

  Runtime& runtime_;
  FlightCache<CallKey, ResolvedCall> calls_;
  std::mutex logged_mutex_;
  std::set<std::pair<FallBackKind, const Implementation*>> logged_;
  std::mutex names_mutex_;
  std::set<std::string, std::less<>> names_;  // archs that keys in calls_ point to
};

}  // namespace kiln
