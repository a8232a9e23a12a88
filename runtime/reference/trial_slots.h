// SPDX-License-Identifier: Apache-2.0
// Slots of the sequences of a trial.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "runtime/reference/trial_tensor.h"

namespace kiln {

// Each sequence gets a slot of its own, in random order; those beyond the pool are inactive.
// `slots`: i32 [batch].
inline void fill_trial_slots(TrialTensor& slots, std::int64_t pool, Random& random) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(std::max(pool, slots.count())), -1);
  std::iota(order.begin(), order.begin() + pool, 0);
  for (std::int64_t i = pool - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[random.next() % (static_cast<std::uint64_t>(i) + 1)]);
  }
  std::copy(order.begin(), order.begin() + slots.count(), slots.host_as<std::int32_t>());
}

}  // namespace kiln
