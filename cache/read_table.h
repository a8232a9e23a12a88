// SPDX-License-Identifier: Apache-2.0
// ReadTable: a hash table that is read without a lock while one writer changes it.
//
// Open addressing over atomic pointers. What a writer takes out is freed once no reader can still
// reach it (cache/epoch.h).
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cache/epoch.h"

namespace kiln {

// Node has a member `hash`. Readers hold an epoch::Stay, or the writer's lock; all that changes the
// table happens under the writer's lock.
template <class Node>
class ReadTable {
 public:
  ReadTable() : slots_(new Slots(kCapacityMin)) {}
  // No reader may be left.
  ~ReadTable() {
    for_each([](Node* node) { delete node; });
    delete slots_.load();
  }
  ReadTable(const ReadTable&) = delete;
  ReadTable& operator=(const ReadTable&) = delete;

  // The node of `hash` for which `matches` is true, or null.
  template <class Matches>
  Node* find(std::size_t hash, Matches matches) const {
    const Slots& slots = *slots_.load();
    for (std::size_t i = slots.first(hash);; i = slots.next(i)) {
      Node* const node = slots.at[i].load();
      if (!node) return nullptr;
      if (node != gone() && node->hash == hash && matches(*node)) return node;
    }
  }

  std::size_t size() const { return size_; }

  template <class Visit>
  void for_each(Visit visit) const {
    const Slots& slots = *slots_.load();
    for (std::size_t i = 0; i <= slots.mask; ++i) {
      Node* const node = slots.at[i].load();
      if (node && node != gone()) visit(node);
    }
  }

  // Its key must not be there. Throws std::bad_alloc, having changed nothing.
  void insert(std::unique_ptr<Node> node) {
    // Never more than half full, so that every probe ends at an empty slot.
    if (2 * (filled_ + 1) > slots_.load()->mask + 1) rebuild();
    if (place(*slots_.load(), node.release())) ++filled_;
    ++size_;
  }

  // `node` must be there. Throws std::bad_alloc, having changed nothing.
  void remove(Node* node) {
    retired_.emplace_back();
    const Slots& slots = *slots_.load();
    std::size_t i = slots.first(node->hash);
    while (slots.at[i].load() != node) i = slots.next(i);
    slots.at[i].store(gone());
    --size_;
    retired_.back() = {epoch::retire(), std::unique_ptr<Node>(node), nullptr};
  }

  // Moves out the removed nodes that no reader can reach; the caller destroys them, best without
  // the lock. Throws std::bad_alloc, having changed nothing that matters.
  std::vector<std::unique_ptr<Node>> take_unreachable() {
    std::vector<std::unique_ptr<Node>> nodes;
    if (retired_.empty()) return nodes;
    const std::uint64_t oldest = epoch::oldest_read();
    std::size_t kept = 0;
    nodes.reserve(retired_.size());
    for (Retired& each : retired_) {
      if (each.epoch >= oldest) {
        std::swap(retired_[kept++], each);
      } else if (each.node) {
        nodes.push_back(std::move(each.node));
      }
    }
    retired_.resize(kept);
    return nodes;
  }

 private:
  static constexpr std::size_t kCapacityMin = 64;

  struct Slots {
    explicit Slots(std::size_t capacity)
        : mask(capacity - 1),
          shift(64 - std::countr_zero(capacity)),
          at(new std::atomic<Node*>[capacity]()) {}

    // Fibonacci hashing: std::hash of an integer is the integer itself.
    std::size_t first(std::size_t hash) const {
      return (std::uint64_t{hash} * 0x9e3779b97f4a7c15ULL) >> shift;
    }
    std::size_t next(std::size_t i) const { return (i + 1) & mask; }

    const std::size_t mask;
    const int shift;
    const std::unique_ptr<std::atomic<Node*>[]> at;
  };

  struct Retired {
    std::uint64_t epoch = 0;
    std::unique_ptr<Node> node;
    std::unique_ptr<Slots> slots;
  };

  // Stands where a node was: probes go on past it.
  static Node* gone() { return reinterpret_cast<Node*>(alignof(Node)); }

  // Whether an empty slot was taken, and not one that a node has left.
  static bool place(const Slots& slots, Node* node) {
    std::size_t i = slots.first(node->hash);
    while (slots.at[i].load() && slots.at[i].load() != gone()) i = slots.next(i);
    return slots.at[i].exchange(node) == nullptr;
  }

  void rebuild() {
    auto fresh = std::make_unique<Slots>(std::bit_ceil(std::max(kCapacityMin, 4 * (size_ + 1))));
    retired_.emplace_back();
    for_each([&](Node* node) { place(*fresh, node); });
    std::unique_ptr<Slots> old(slots_.exchange(fresh.release()));
    filled_ = size_;
    retired_.back() = {epoch::retire(), nullptr, std::move(old)};
  }

  std::atomic<Slots*> slots_;
  std::size_t size_ = 0;
  std::size_t filled_ = 0;  // slots that hold a node or held one
  std::vector<Retired> retired_;
};

}  // namespace kiln
