// SPDX-License-Identifier: Apache-2.0
// kda_decode of few states, the state in registers alone. A block works on a V slice of one state
// matrix (grid y), so that few states still fill the chip. The state's first tile and all of the
// token's inputs are on their way before the gate is computed, by the block together.
#include "kda/block_decay.h"
#include "kda_decode/single_token.h"

namespace kiln {
namespace kda_decode_detail {

// The head of a token, by all threads of the block.
class BlockHead {
 public:
  KILN_DEVICE BlockHead(const KdaDecodeParams& p, const Place& place, int hv) {
    if constexpr (kSharesDecay) {
      gate_ = load_thread_weights(p, hv);
    } else {
      weights_ = load_gate_weights<Access::aligned>(p, place, hv);
    }
  }
  KILN_DEVICE void load(const KdaDecodeParams& p, const Place& place, i64 n, i64 t, int hv) {
    token_ = load_token<Access::aligned, !kSharesDecay>(p, place, n, t, hv);
    if constexpr (kSharesDecay) load_thread_gate(p, n, t, hv, gate_);
  }
  KILN_DEVICE Head head(const KdaDecodeParams& p, const Place& place,
                        const Shared<float>& decay) const {
    if constexpr (!kSharesDecay) return head_of(p, weights_, token_);
    share_decay(p, gate_, decay);
    Head head = normalised(p, token_);
    take_decay(decay, place, head);
    return head;
  }

 private:
  Token token_ = {};
  ThreadGate gate_ = {};      // where the decay is shared
  GateWeights weights_ = {};  // where it is not
};

}  // namespace kda_decode_detail

// Grid: x counts the states (sequence, value head), y the slices of V. Block: 128 threads.
KILN_KERNEL(128, kda_decode_detail::kBlocksMin)
kda_decode_small_batch(KILN_PARAMS(KdaDecodeParams) p) {
  using namespace kda_decode_detail;
  KILN_SHARED(float, decay, shape::K);
  const i64 n = block_idx().x / shape::HV;
  const int hv = static_cast<int>(block_idx().x % shape::HV);
  const int slice_rows = shape::V / static_cast<int>(grid_dim().y);
  const int slice = static_cast<int>(block_idx().y) * slice_rows;
  const int end = slice + slice_rows;
  const Place place;

  BlockHead inputs(p, place, hv);
  dependency_wait();
  launch_dependents();

  const Entry entry = entry_of(p, n);
  if (!entry.present) return;
  inputs.load(p, place, n, entry.token, hv);
  const HeadMemory memory = memory_of(p, n, entry, hv);
  if (!entry.active(p.state)) {
    clear_values(memory.out, slice, slice_rows, thread_rank(), kKdaThreads);
    return;
  }
  int first = slice + warp() * kTileRows;
  const bool works = first < end;  // else it only helps with the gate
  RawTile raw = {};
  Io v = {};
  if (works) {
    raw = load_tile<Access::aligned>(memory.state, place, first);
    v = memory.v.load(first + place.own_value());
  }
  const Head head = inputs.head(p, place, decay);
  for (; first < end; first += kWarps * kTileRows) {
    const int next = first + kWarps * kTileRows;
    RawTile coming = raw;
    Io coming_v = v;
    if (next < end) {
      coming = load_tile<Access::aligned>(memory.state, place, next);
      coming_v = memory.v.load(next + place.own_value());
    }
    update_tile(memory, head, place, first, to_float(v), raw);
    raw = coming;
    v = coming_v;
  }
}

}  // namespace kiln
