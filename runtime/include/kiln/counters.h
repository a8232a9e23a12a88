// SPDX-License-Identifier: Apache-2.0
// Counters of one Runtime: a value, compared whole. Tests and CI assert these, not log lines.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "jit/base/export.h"

namespace kiln {

struct Counters {
  std::uint64_t memory_hits = 0;       // served from this process's memory
  std::uint64_t disk_hits = 0;         // served from the writable store
  std::uint64_t layer_hits = 0;        // served from a read-only layer
  std::uint64_t compiles = 0;          // compiles that succeeded
  std::uint64_t compile_failures = 0;  // compiles that a compiler refused
  std::uint64_t rejected_entries = 0;  // stored entries that failed a check and were dropped
  std::uint64_t waited_for_other_process = 0;  // look-ups that waited for another process's compile
  std::uint64_t cache_errors = 0;              // reads and writes that the cache could not do
  std::uint64_t other_toolchain_hits = 0;      // hits by policy `any`, part of disk and layer hits

  // Fall-backs: a better implementation written for the arch did not serve. Once for each such
  // implementation and each op, shape and device that is called, however often it is called.
  std::uint64_t not_built_fall_backs = 0;   // it cannot be built for shape or arch, or is disabled
  std::uint64_t not_served_fall_backs = 0;  // it cannot serve a call's arguments
  std::uint64_t lost_fall_backs = 0;        // its kernel cannot be had: see EventKind::fall_back

  friend bool operator==(const Counters&, const Counters&) = default;
};

struct CounterField {
  std::string_view name;
  std::uint64_t Counters::*value;
};
// Every counter with its name, in the order of the struct: for printing and JSON.
KILN_API std::span<const CounterField> counter_fields();

}  // namespace kiln
