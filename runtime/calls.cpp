// SPDX-License-Identifier: Apache-2.0
#include "runtime/calls.h"

#include <fmt/format.h>

#include "jit/base/log.h"
#include "runtime/emit.h"
#include "runtime/ops/device_arch.h"
#include "runtime/runtime_impl.h"

namespace kiln {
namespace {

// Whether another implementation may serve where a kernel failed like this. Not a miss under
// `locked` or during a capture: those are errors by the caller's own wish.
bool may_fall_back(const Error& error) {
  return error.code == ErrorCode::compile_failed || error.code == ErrorCode::driver_failed ||
         error.code == ErrorCode::unavailable;
}

// The cache hands out values as const; what a call loads later is the one thing that changes.
ResolvedCall& writable(const std::shared_ptr<const ResolvedCall>& call) {
  return const_cast<ResolvedCall&>(*call);
}

bool is_settled(const CallCandidate& candidate) {
  return candidate.kernel.load(std::memory_order_acquire) ||
         candidate.passed_over.load(std::memory_order_relaxed);
}

}  // namespace

Calls::Calls(Runtime& runtime)
    : runtime_(runtime),
      calls_({UINT64_MAX, FlightLimits{}.failure_ttl}, [](const ResolvedCall&) { return 1; }) {}

std::string_view Calls::lasting(std::string_view arch) {
  const std::lock_guard lock(names_mutex_);
  const auto known = names_.find(arch);
  return known == names_.end() ? *names_.emplace(arch).first : *known;
}

Result<CallKey> Calls::key_of(const KernelRequest& request) {
  if (!request.op) return fail(ErrorCode::invalid_argument, "a KernelRequest without an op");
  KILN_TRY_ASSIGN(const PackedShape shape, PackedShape::of(*request.op, request.shape));
  return CallKey{shape, request.device, request.arch ? lasting(request.arch->name()) : ""};
}

Result<Calls::CallPointer> Calls::resolve(const CallKey& key) {
  CallOptions options;
  if (!key.arch.empty()) {
    KILN_TRY_ASSIGN(options.arch, Arch::parse(key.arch));
  }
  KILN_TRY_ASSIGN(Arch arch, device_arch(runtime_, key.device, options));
  auto call = std::make_shared<ResolvedCall>(key, std::move(arch));
  // select() says why not, for those that ask in vain.
  KILN_TRY(runtime_.select(call->op, call->shape, call->arch));
  std::vector<Rung> refused;  // since the last one that was not
  for (Rung& rung : runtime_.chain(call->op, call->shape, call->arch)) {
    if (!rung.can_serve) {
      if (is_written_for(*rung.implementation, call->shape, call->arch)) {
        refused.push_back(std::move(rung));
      }
      continue;
    }
    const CallCandidate* better = call->candidates.empty() ? nullptr : &call->candidates.back();
    call->candidates.emplace_back(rung.implementation, call->shape, better);
    for (const Rung& before : refused) {
      note_fall_back(FallBackKind::not_built, *before.implementation, before.can_serve.reason(),
                     *rung.implementation);
    }
    refused.clear();
  }
  for (const Rung& last : refused) {
    note_fall_back(FallBackKind::not_built, *last.implementation, last.can_serve.reason(),
                   *call->candidates.back().implementation);
  }
  return call;
}

Result<Calls::CallPointer> Calls::find(const CallKey& key) {
  if (CallPointer call = calls_.peek(key)) return call;
  const CallKey lasts{key.shape, key.device, key.arch.empty() ? "" : lasting(key.arch)};
  return calls_.get(lasts, [&] { return resolve(lasts); });
}

Result<const Kernel*> Calls::load(ResolvedCall& call, CallCandidate& candidate, Stream stream) {
  const Selection selection{&call.op, candidate.implementation, {}};
  KILN_TRY_ASSIGN(auto kernel,
                  runtime_.kernel(selection, call.shape, call.arch, call.device, stream));
  const std::lock_guard lock(call.mutex);
  if (!candidate.owner) {
    candidate.owner = std::move(kernel);
    candidate.kernel.store(candidate.owner.get(), std::memory_order_release);
  }
  return candidate.kernel.load(std::memory_order_relaxed);
}

void Calls::note_fall_back(FallBackKind kind, const Implementation& better, std::string_view reason,
                           const Implementation& instead) {
  static constexpr std::uint64_t Counters::*kCounters[] = {&Counters::not_built_fall_backs,
                                                           &Counters::not_served_fall_backs,
                                                           &Counters::lost_fall_backs};
  runtime_.impl_->counting.add(kCounters[static_cast<int>(kind)]);
  {
    const std::lock_guard lock(logged_mutex_);
    if (!logged_.emplace(kind, &better).second) return;
  }
  // What was known before the call is no surprise; a kernel that is lost is.
  const bool lost = kind == FallBackKind::lost;
  log(lost ? LogLevel::warning : LogLevel::info,
      fmt::format("{} serves in place of {}{}: {}", instead.name, better.name,
                  lost ? ", whose kernel cannot be had" : "", reason));
}

void Calls::tell_lost(const ResolvedCall& call, const CallCandidate& broken, const Error& error,
                      const CallCandidate& instead) {
  note_fall_back(FallBackKind::lost, *broken.implementation, error.message,
                 *instead.implementation);
  const std::string label =
      fmt::format("{} {} {}", broken.implementation->name, call.shape.text(), call.arch.name());
  Event event;
  event.kind = EventKind::fall_back;
  event.label = label;
  event.error = &error;
  event.instead = instead.implementation->name;
  emit(runtime_.options().on_event, event);
}

// Why each better one did not serve, for those who ask; the launch itself keeps no reasons.
Selection Calls::selection_of(const ResolvedCall& call, const CallCandidate& served,
                              const void* params) const {
  Selection selection{&call.op, served.implementation, {}};
  auto first_choice = runtime_.select(call.op, call.shape, call.arch, params);
  if (!first_choice) return selection;
  selection.passed_over = std::move(first_choice->passed_over);
  if (first_choice->implementation == served.implementation) return selection;
  std::erase_if(selection.passed_over,
                [&](const auto& each) { return each.first == served.implementation->name; });
  bool is_better = true;
  for (const CallCandidate& each : call.candidates) {
    is_better = is_better && &each != &served;
    const bool is_first = each.implementation == first_choice->implementation;
    if (!is_first && !(is_better && each.passed_over)) continue;
    std::erase_if(selection.passed_over,
                  [&](const auto& known) { return known.first == each.implementation->name; });
    selection.passed_over.emplace_back(each.implementation->name, "its kernel cannot be had");
  }
  return selection;
}

Result<CallCandidate*> Calls::choose(ResolvedCall& call, const void* params, Stream stream,
                                     Choice choice, NotServing& others) {
  bool is_asked = false;  // whether the next better candidate was, and what it said
  bool can_serve = false;
  for (CallCandidate& candidate : call.candidates) {
    if (!candidate.serves_as_better) is_asked = false;
    const bool is_loaded = candidate.kernel.load(std::memory_order_acquire) != nullptr;
    if (!is_loaded && candidate.passed_over.load(std::memory_order_relaxed)) continue;
    if (!is_asked) {
      const Answer answer = candidate.can_serve(params);
      can_serve = static_cast<bool>(answer);
      if (!can_serve && !others.refused && !candidate.refused.load(std::memory_order_relaxed)) {
        others.refused = &candidate;
        others.reason = answer.reason();
      }
    }
    is_asked = true;
    if (!can_serve) continue;
    if (choice == Choice::best && candidate.is_best && call.candidates.size() > 1 &&
        !candidate.is_best(params)) {
      continue;
    }
    if (is_loaded) return &candidate;
    auto loaded = load(call, candidate, stream);
    if (loaded) return &candidate;
    if (!may_fall_back(loaded.error())) return fail(std::move(loaded).error());
    others.lost.emplace_back(&candidate, std::move(loaded).error());
  }
  return nullptr;
}

void Calls::tell(const ResolvedCall& call, const NotServing& others, const CallCandidate& served) {
  for (const auto& [candidate, error] : others.lost) {
    if (!candidate->passed_over.exchange(true)) tell_lost(call, *candidate, error, served);
  }
  if (others.refused && !others.refused->refused.exchange(true)) {
    note_fall_back(FallBackKind::not_served, *others.refused->implementation, others.reason,
                   *served.implementation);
  }
}

Result<void> Calls::launch(const CallKey& key, const void* params, const CallOptions& options) {
  KILN_TRY_ASSIGN(const CallPointer found, find(key));
  ResolvedCall& call = writable(found);
  NotServing others;
  KILN_TRY_ASSIGN(CallCandidate * served,
                  choose(call, params, options.stream, Choice::best, others));
  if (!served) {
    KILN_TRY_ASSIGN(served, choose(call, params, options.stream, Choice::any, others));
  }
  if (served) {
    tell(call, others, *served);
    if (options.selected) *options.selected = selection_of(call, *served, params);
    const Kernel* const kernel = served->kernel.load(std::memory_order_relaxed);
    return kernel->launch(served->plan(params), params, call.op.params_bytes, options.stream);
  }
  if (!others.lost.empty()) return fail(std::move(others.lost.front().second));
  auto selection = runtime_.select(call.op, call.shape, call.arch, params);
  if (!selection) return fail(std::move(selection).error());
  // Only one that was passed over serves these arguments: its failure may have been a passing one.
  for (CallCandidate& candidate : call.candidates) candidate.passed_over = false;
  return launch(key, params, options);
}

Result<void> Calls::prepare(const CallKey& key) {
  KILN_TRY_ASSIGN(const CallPointer found, find(key));
  ResolvedCall& call = writable(found);
  std::vector<std::pair<CallCandidate*, Error>> broken;
  const CallCandidate* best = nullptr;
  std::size_t better_broken = 0;  // how many of the broken ones are better than `best`
  for (CallCandidate& candidate : call.candidates) {
    if (!candidate.kernel.load(std::memory_order_acquire)) {
      auto loaded = load(call, candidate, {});
      if (!loaded) {
        if (!may_fall_back(loaded.error())) return fail(std::move(loaded).error());
        broken.emplace_back(&candidate, std::move(loaded).error());
        continue;
      }
    }
    if (best) continue;
    best = &candidate;
    better_broken = broken.size();
  }
  if (!best) return fail(std::move(broken.front().second));
  for (std::size_t i = 0; i < broken.size(); ++i) {
    const auto& [candidate, error] = broken[i];
    if (candidate->passed_over.exchange(true) || i >= better_broken) continue;
    tell_lost(call, *candidate, error, *best);
  }
  return {};
}

bool Calls::is_prepared(const CallKey& key) const {
  const CallPointer call = calls_.peek(key);
  if (!call) return false;
  for (const CallCandidate& candidate : call->candidates) {
    if (!is_settled(candidate)) return false;
  }
  return true;
}

Calls::CallPointer Calls::forget(const CallKey& key) {
  CallPointer call = calls_.peek(key);
  calls_.erase(key);
  return call;
}

}  // namespace kiln
