// SPDX-License-Identifier: Apache-2.0
// Epochs: how lock-free readers and the memory they read part without waiting for each other.
//
// A reader says in a slot of its own thread since when it has been reading; a writer first unlinks
// an object, then asks for the epoch of that moment, and frees the object once every reader came
// later. Readers write to no memory that they share, so they scale; a shared_ptr snapshot does not
// (copying one hot shared_ptr costs more than a mutex).
//
// Unlinking and reading must go through seq_cst atomics: that orders "reader announces, then reads"
// against "writer unlinks, then looks who reads".
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kiln::epoch {

// Where one thread announces itself; 0: it is not reading. A cache line of its own.
struct alignas(64) Slot {
  std::atomic<std::uint64_t> reading_since{0};
  std::atomic<bool> taken{true};
  std::size_t lane = 0;  // threads that run at the same time mostly have different small numbers
  Slot* next = nullptr;
};

extern std::atomic<std::uint64_t> now;
extern thread_local constinit Slot* own_slot;
// Finds the calling thread a slot. Null while the thread is exiting, or out of memory.
Slot* claim_slot() noexcept;

// Announces the calling thread as a reader for its lifetime. Not to be nested: keep it to the few
// instructions of a look-up, and run no code of others in it.
class Stay {
 public:
  Stay() noexcept : slot_(own_slot ? own_slot : claim_slot()) {
    if (slot_) slot_->reading_since.store(now.load(std::memory_order_acquire));
  }
  ~Stay() {
    if (slot_) slot_->reading_since.store(0, std::memory_order_release);
  }
  Stay(const Stay&) = delete;
  Stay& operator=(const Stay&) = delete;

  // False when the thread has no slot: then read under the writer's lock.
  explicit operator bool() const { return slot_ != nullptr; }
  // For spreading what threads write over several cache lines.
  std::size_t lane() const { return slot_ ? slot_->lane : 0; }

 private:
  Slot* slot_;
};

// Ends the current epoch and returns it: the tag of whatever was unlinked before the call.
std::uint64_t retire();
// What was tagged with an epoch before this one is read by nobody any more.
std::uint64_t oldest_read();

}  // namespace kiln::epoch
