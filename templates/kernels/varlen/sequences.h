// SPDX-License-Identifier: Apache-2.0
// Sequences packed one after another: sequence n has the tokens from cu_seqlens[n] up to, but
// without, cu_seqlens[n + 1]. These numbers are device data that no host has checked. They are cut
// to the `total` tokens that there are, so that wrong ones give wrong results and no fault.
//
// `Starts` gives cu_seqlens[i] by load(i): Global<const i32> on a GPU, HostStarts on the CPU.
#pragma once

#include "kiln/base.h"

namespace kiln {

struct Sequence {
  i64 first;   // token
  i64 length;  // tokens
};

struct HostStarts {
  const i32* data;
  KILN_DEVICE i32 load(i64 i) const { return data[i]; }
};

template <class Starts>
KILN_DEVICE i64 sequence_start(const Starts& cu_seqlens, i64 n, i64 total) {
  return min(max(i64{cu_seqlens.load(n)}, i64{0}), total);
}

template <class Starts>
KILN_DEVICE Sequence sequence_at(const Starts& cu_seqlens, i64 n, i64 total) {
  const i64 first = sequence_start(cu_seqlens, n, total);
  return {first, max(sequence_start(cu_seqlens, n + 1, total) - first, i64{0})};
}

// A tile of up to `rows` tokens of one sequence.
struct SequenceTile {
  i64 n;      // the sequence
  i64 first;  // token, counted within the sequence; not below its length: nothing to do
};

// The tile of a number below varlen_tile_count(total, batch, rows).
template <class Starts>
KILN_DEVICE SequenceTile sequence_tile(const Starts& cu_seqlens, i64 batch, i64 total, i64 rows,
                                       i64 number) {
  i64 low = 0;  // the last sequence whose first number is not above `number` is in [low, high)
  i64 high = batch;
  while (high - low > 1) {
    const i64 middle = low + (high - low) / 2;
    const bool begins_later = sequence_start(cu_seqlens, middle, total) / rows + middle > number;
    high = begins_later ? middle : high;
    low = begins_later ? low : middle;
  }
  return {low, (number - low - sequence_start(cu_seqlens, low, total) / rows) * rows};
}

}  // namespace kiln
