// SPDX-License-Identifier: Apache-2.0
// kda_decode on the native CPU. A work item is one state matrix or a V slice of it (see
// kda/cpu_rows.h). One token: the slice comes from memory once and is updated in place. Several: it
// is kept in fp32 in the worker's scratch memory, since the slot may have to stay as it is.
#include "kda/cpu_rows.h"
#include "kda_decode/cpu_slices.h"
#include "kda_decode/params.h"

namespace kiln {
namespace kda_decode_detail {

using namespace kda_detail;

static_assert(sizeof(float) * shape::K * shape::V <= kKilnCpuScratchBytes, "refused by can_build");

// One work item.
struct Item {
  i64 n;
  int hv;
  int first;  // value
  int count;
};

KILN_DEVICE i64 slot_of(const KdaDecodeParams& p, i64 n, i64 column) {
  return slot_at(p.slots, p.slot_bytes, n * p.slots_stride + column);
}

KILN_DEVICE i64 first_slot(const KdaDecodeParams& p, i64 n) {
  i64 column = 0;
  if (p.accepted != nullptr) {
    column = min(max(i64{p.accepted[n]}, i64{1}), i64{p.slot_columns}) - 1;
  }
  return slot_of(p, n, column);
}

KILN_DEVICE Slice<State> slice_of(const KdaPool& pool, i64 slot, const Item& item) {
  return kda_detail::slice_of(pool, slot, item.hv, item.first, item.count);
}

// The state after token t to wherever the call wants it.
KILN_DEVICE void write_after(const KdaDecodeParams& p, const Item& item, i64 t,
                             const Slice<float>& state) {
  if (p.intermediate.data != nullptr && t < p.intermediate_tokens) {
    const i64 slot = slot_at(p.intermediate_slots, p.slot_bytes, item.n);
    if (slot >= 0 && slot < p.intermediate.slots) {
      Slice<State> to = slice_of(p.intermediate, slot, item);
      to.data += t * p.intermediate_token_stride;
      to.copy_from(state);
    }
  }
  if (p.state_write == kKdaWriteEach && t < p.slot_columns) {
    const i64 slot = slot_of(p, item.n, t);
    if (slot >= 0 && slot < p.state.slots) slice_of(p.state, slot, item).copy_from(state);
  }
}

// Where the state of an item begins, or null where it is inactive.
KILN_DEVICE const State* start_of(const KdaDecodeParams& p, const Item& item) {
  const i64 slot = first_slot(p, item.n);
  return slot < 0 || slot >= p.state.slots ? nullptr : slice_of(p.state, slot, item).data;
}

// `next`: where the state of the following item begins, or null. `asked`: whether the item before
// asked for the first rows of this one. Returns whether this one has asked for those of the next.
KILN_DEVICE bool run_item(const KilnCpuHost* host, const KdaDecodeParams& p, const Item& item,
                          const State* next, bool asked) {
  const Sequence tokens = tokens_of(p, item.n);
  const i64 slot = first_slot(p, item.n);
  if (slot < 0 || slot >= p.state.slots) {
    clear_tokens(p, item.n, tokens, item.hv, item.first, item.count);
    return false;
  }
  if (tokens.length == 0) return false;
  const Slice<State> memory = slice_of(p.state, slot, item);
  if (!asked) memory.prefetch_first();
  if (tokens.length == 1 && p.state_write == kKdaWriteLast && p.intermediate.data == nullptr) {
    advance_token(p, item.n, tokens.first, item.hv, item.first, memory, next);
    return next != nullptr;
  }
  const Slice<float> state{static_cast<float*>(host->scratch), kVk ? 0 : item.count, item.count};
  state.copy_from(memory);
  for (i64 t = 0; t < tokens.length; ++t) {
    advance_token(p, item.n, tokens.first + t, item.hv, item.first, state);
    write_after(p, item, t, state);
  }
  if (p.state_write == kKdaWriteLast) memory.copy_from(state);
  return false;
}

}  // namespace kda_decode_detail

KILN_CPU_KERNEL(kda_decode_cpu, host, params, first, last) {
  using namespace kda_decode_detail;
  const KdaDecodeParams& p = *static_cast<const KdaDecodeParams*>(params);
  const i64 states = static_cast<i64>(p.batch) * shape::HV;
  const int slices = kda_decode_cpu_slices(kVk, states, shape::V);
  const int count = shape::V / slices;
  const auto item = [&](i64 i) {
    const i64 state = i / slices;
    return Item{state / shape::HV, static_cast<int>(state % shape::HV),
                static_cast<int>(i % slices) * count, count};
  };
  bool asked = false;
  for (i64 i = first; i < last; ++i) {
    const State* next = kVk && i + 1 < last ? start_of(p, item(i + 1)) : nullptr;
    asked = run_item(host, p, item(i), next, asked);
  }
}

}  // namespace kiln
