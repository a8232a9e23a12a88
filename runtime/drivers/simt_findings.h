// SPDX-License-Identifier: Apache-2.0
// SimtFindings: what the machine found wrong with one launch, each kind at each line once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "jit/base/result.h"
#include "templates/device/kiln/simt_abi.h"

namespace kiln {

// Causes before what often follows from them: a block's findings are listed in this order.
enum class FindingKind {
  shared_memory_exceeded,
  shared_out_of_bounds,
  global_out_of_bounds,
  misaligned,
  divergent_barrier,
  inactive_lane,
  not_uniform,
  wrong_lane_map,
  unfinished_copy,
  race,
  uninitialised_read,
};
std::string_view name_of(FindingKind kind);

// "kda_decode/small_batch.cu:17"
std::string text_of(KilnSimtSite site);

// Thread-safe.
class SimtFindings {
 public:
  explicit SimtFindings(std::string_view kernel) : kernel_(kernel) {}

  // `describe` is called where this kind is new at these lines, or was known from a later block
  // only: what is reported does not depend on which core was faster.
  void add(FindingKind kind, std::uint64_t block, KilnSimtSite site, KilnSimtSite other,
           const std::function<std::string()>& describe);

  // Errors: driver_failed, with the first finding as message and all of them as log.
  Result<void> outcome() const;

 private:
  struct Key {
    FindingKind kind;
    std::string site;
    std::string other;
    auto operator<=>(const Key&) const = default;
  };
  struct Entry {
    std::uint64_t block;
    std::uint64_t times;
    std::string text;
  };

  const std::string_view kernel_;
  mutable std::mutex mutex_;
  std::map<Key, Entry> entries_;
};

}  // namespace kiln
