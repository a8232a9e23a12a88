// SPDX-License-Identifier: Apache-2.0
// Lengths of the sequences of a trial.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/reference/trial_tensor.h"

namespace kiln {

// All `longest`; or, `ragged`, one so long, then one empty and one of a single token as far as the
// batch has room for them, then any.
inline std::vector<std::int64_t> sequence_lengths(std::int64_t batch, std::int64_t longest,
                                                  bool ragged, Random& random) {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(batch), longest);
  if (!ragged) return lengths;
  for (std::size_t n = 1; n < lengths.size(); ++n) {
    const auto any =
        static_cast<std::int64_t>(random.next() % (static_cast<std::uint64_t>(longest) + 1));
    lengths[n] = n == 1 ? 0 : n == 2 ? std::min<std::int64_t>(1, longest) : any;
  }
  return lengths;
}

// Where each begins, and at the end where the last one ends.
inline std::vector<std::int32_t> starts_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int32_t> starts{0};
  for (const std::int64_t length : lengths) {
    starts.push_back(starts.back() + static_cast<std::int32_t>(length));
  }
  return starts;
}

}  // namespace kiln
