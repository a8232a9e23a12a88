// SPDX-License-Identifier: Apache-2.0
#include "cache/epoch.h"

#include <algorithm>
#include <new>

#include "cache/fork.h"

namespace kiln::epoch {
namespace {

// Slots are handed from thread to thread and never freed: a scan may be under way.
std::atomic<Slot*> all_slots{nullptr};
std::atomic<std::size_t> slot_count{0};
thread_local constinit bool thread_exits = false;

// Gives the slot back when its thread ends.
struct SlotReturn {
  Slot* slot = nullptr;
  ~SlotReturn() {
    if (!slot) return;
    thread_exits = true;
    own_slot = nullptr;
    slot->taken.store(false, std::memory_order_release);
  }
};

// A child has none of its parent's other threads, so nobody would ever clear what they announced.
void forget_other_threads() {
  for (Slot* slot = all_slots.load(); slot; slot = slot->next) {
    if (slot == own_slot) continue;
    slot->reading_since.store(0);
    slot->taken.store(false);
  }
}

// Made when the program or library is loaded, since a fork during a first use would leave the child
// with a half-made one; never destroyed.
[[maybe_unused]] const ForkRegistration& registration = *new ForkRegistration({
    [] {},
    [](ForkSide side) {
      if (side == ForkSide::child) forget_other_threads();
    },
});

Slot* take_free_slot() {
  for (Slot* slot = all_slots.load(); slot; slot = slot->next) {
    if (!slot->taken.exchange(true)) return slot;
  }
  Slot* const fresh = new (std::nothrow) Slot;
  if (!fresh) return nullptr;
  fresh->lane = slot_count.fetch_add(1);
  fresh->next = all_slots.load();
  while (!all_slots.compare_exchange_weak(fresh->next, fresh)) {
  }
  return fresh;
}

}  // namespace

std::atomic<std::uint64_t> now{1};
thread_local constinit Slot* own_slot = nullptr;

Slot* claim_slot() noexcept {
  if (thread_exits) return nullptr;
  thread_local SlotReturn at_exit;
  at_exit.slot = take_free_slot();
  own_slot = at_exit.slot;
  return own_slot;
}

std::uint64_t retire() {
  return now.fetch_add(1);
}

std::uint64_t oldest_read() {
  std::uint64_t oldest = now.load();
  for (Slot* slot = all_slots.load(); slot; slot = slot->next) {
    const std::uint64_t since = slot->reading_since.load();
    if (since != 0) oldest = std::min(oldest, since);
  }
  return oldest;
}

}  // namespace kiln::epoch
