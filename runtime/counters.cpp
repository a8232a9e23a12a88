// SPDX-License-Identifier: Apache-2.0
#include "kiln/counters.h"

namespace kiln {
namespace {

constexpr CounterField kFields[] = {
    {"memory_hits", &Counters::memory_hits},
    {"disk_hits", &Counters::disk_hits},
    {"layer_hits", &Counters::layer_hits},
    {"compiles", &Counters::compiles},
    {"compile_failures", &Counters::compile_failures},
    {"rejected_entries", &Counters::rejected_entries},
    {"waited_for_other_process", &Counters::waited_for_other_process},
    {"cache_errors", &Counters::cache_errors},
    {"other_toolchain_hits", &Counters::other_toolchain_hits},
    {"not_built_fall_backs", &Counters::not_built_fall_backs},
    {"not_served_fall_backs", &Counters::not_served_fall_backs},
    {"lost_fall_backs", &Counters::lost_fall_backs},
};
static_assert(sizeof(Counters) == std::size(kFields) * sizeof(std::uint64_t));

}  // namespace

std::span<const CounterField> counter_fields() {
  return kFields;
}

}  // namespace kiln
