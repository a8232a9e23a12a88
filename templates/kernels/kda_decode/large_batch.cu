// SPDX-License-Identifier: Apache-2.0
// kda_decode of many states: as many blocks as the device holds at once, and each warp takes a
// contiguous run of tiles, of one head after another, so that no warp has more than one tile more
// than another and no wave of blocks is left over. While a tile is computed, the next ones are
// loading: through a ring of shared memory where the chip has asynchronous copies, else through
// registers. A lane reads of the ring what it copied itself: no barrier.
#include "kda_decode/single_token.h"
#include "kiln/async_copy.h"
#include "kiln/shared.h"

namespace kiln {
namespace kda_decode_detail {

constexpr int kTilesPerState = shape::V / kTileRows;

// 48 KiB of ring for a block, which is what it may have statically: with the registers' limit of
// kBlocksMin blocks, 80 KiB and more are on their way to a multiprocessor of sm_80 or sm_90.
constexpr int kRingVectors = 24;  // of a lane
constexpr int kStages = kRingVectors / kVectors;
constexpr bool kHasRing = dialect::has_async_copy && kStages >= 2;

// Tiles on their way, in the order of their requests.
class RingLoads {
 public:
  static constexpr int kAhead = kStages - 1;
  KILN_DEVICE explicit RingLoads(const Shared<State>& ring) : ring_(ring) {}

  // Without a matrix there is nothing to load, but the tile counts.
  KILN_DEVICE void request(const Global<State>& matrix, const Place& place, int first, bool load) {
    if (load) {
      const Global<State> from = matrix.from(place.tile(first));
      const int to = at(requested_);
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        async_copy<kVector>(ring_, to + i * kStep, from, tile_step(i));
      }
    }
    async_commit();
    requested_ = requested_ + 1 == kStages ? 0 : requested_ + 1;
  }
  // The oldest tile. Between two calls: one request.
  KILN_DEVICE RawTile take() {
    async_wait<kAhead - 1>();
    RawTile raw;
    const int from = at(taken_);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      raw.vectors[i] = ring_.template load_vector<kVector>(from + i * kStep);
    }
    taken_ = taken_ + 1 == kStages ? 0 : taken_ + 1;
    return raw;
  }

 private:
  // Threads side by side: no bank conflicts.
  static constexpr int kStep = kKdaThreads * kVector;
  KILN_DEVICE int at(int stage) const {
    return stage * kVectors * kStep + thread_rank() * kVector;
  }
  const Shared<State> ring_;
  int requested_ = 0;
  int taken_ = 0;
};

class RegisterLoads {
 public:
  static constexpr int kAhead = 1;
  KILN_DEVICE void request(const Global<State>& matrix, const Place& place, int first, bool load) {
    if (load) coming_ = load_tile<Access::aligned>(matrix, place, first);
  }
  KILN_DEVICE RawTile take() const { return coming_; }

 private:
  RawTile coming_ = {};
};

// One end of the run of tiles [tile, end). Slots are asked for one state ahead.
struct Cursor {
  int tile;
  int end;
  int state;
  bool active;
  Entry entry;
  Entry coming;
  Global<State> matrix;  // where active

  KILN_DEVICE Cursor(const KdaDecodeParams& p, int first, int last)
      : tile(first),
        end(last),
        state(first / kTilesPerState),
        entry(),
        coming(),
        matrix(static_cast<State*>(p.state.data)) {
    if (tile < end) enter(p, entry_of(p, state / shape::HV));
  }
  KILN_DEVICE void enter(const KdaDecodeParams& p, const Entry& here) {
    entry = here;
    active = entry.active(p.state);
    if (active) matrix = matrix_of(p.state, entry.slot, hv());
    if ((state + 1) * kTilesPerState < end) coming = entry_of(p, (state + 1) / shape::HV);
  }
  // Whether the tile is of another state than the one before it.
  KILN_DEVICE bool advance(const KdaDecodeParams& p) {
    if (++tile >= end || tile % kTilesPerState != 0) return false;
    ++state;
    enter(p, coming);
    return true;
  }
  KILN_DEVICE i64 sequence() const { return state / shape::HV; }
  KILN_DEVICE int hv() const { return state % shape::HV; }
  KILN_DEVICE int first() const { return tile % kTilesPerState * kTileRows; }
};

template <class Loads>
KILN_DEVICE void request_next(const KdaDecodeParams& p, const Place& place, Cursor& cursor,
                              Loads& loads) {
  loads.request(cursor.matrix, place, cursor.first(), cursor.tile < cursor.end && cursor.active);
  cursor.advance(p);
}

// What the next head needs besides its slot.
struct HeadInputs {
  GateWeights weights;
  Token token;
};

KILN_DEVICE HeadInputs head_inputs(const KdaDecodeParams& p, const Place& place, int state,
                                   const Entry& entry) {
  const int hv = state % shape::HV;
  HeadInputs inputs = {};
  inputs.weights = load_gate_weights<Access::aligned>(p, place, hv);
  if (entry.present) {
    inputs.token = load_token<Access::aligned>(p, place, state / shape::HV, entry.token, hv);
  }
  return inputs;
}

template <class Loads>
KILN_DEVICE void run_tiles(const KdaDecodeParams& p, const Place& place, Cursor cursor,
                           Loads& loads) {
  Cursor ahead = cursor;
#pragma unroll 1
  for (int i = 0; i < Loads::kAhead; ++i) request_next(p, place, ahead, loads);
  HeadInputs inputs = head_inputs(p, place, cursor.state, cursor.entry);
  Global<const Io> v_row = v_of(p, 0, 0, 0);
  Global<Io> out = out_of(p, 0, 0, 0);
  Head head = {};
  for (bool new_head = true; cursor.tile < cursor.end;) {
    const RawTile raw = loads.take();
    request_next(p, place, ahead, loads);
    if (new_head) {
      v_row = v_of(p, cursor.sequence(), cursor.entry.token, cursor.hv());
      out = out_of(p, cursor.sequence(), cursor.entry.token, cursor.hv());
    }
    if (cursor.active) {
      const Io v = v_row.load(cursor.first() + place.own_value());
      if (new_head) head = head_of(p, inputs.weights, inputs.token);
      update_tile({cursor.matrix, v_row, out}, head, place, cursor.first(), to_float(v), raw);
    } else if (cursor.entry.present) {
      clear_values(out, cursor.first(), kTileRows, lane(), warp_size);
    }
    if (new_head && (cursor.state + 1) * kTilesPerState < cursor.end) {
      inputs = head_inputs(p, place, cursor.state + 1, cursor.coming);
    }
    new_head = cursor.advance(p);
  }
}

}  // namespace kda_decode_detail

// Grid: as many blocks as run at once, or fewer. Block: 128 threads.
KILN_KERNEL(128, kda_decode_detail::kBlocksMin)
kda_decode_large_batch(KILN_PARAMS(KdaDecodeParams) p) {
  using namespace kda_decode_detail;
  // can_serve keeps these in 31 bits.
  const int tiles = p.batch * shape::HV * kTilesPerState;
  const int warps = static_cast<int>(grid_dim().x) * kWarps;
  const int number = static_cast<int>(block_idx().x) * kWarps + warp();
  const int share = tiles / warps;
  const int left_over = tiles % warps;
  const Place place;

  dependency_wait();
  launch_dependents();

  const int first = number * share + min(number, left_over);
  const Cursor cursor(p, first, first + share + (number < left_over ? 1 : 0));
  if (cursor.tile >= cursor.end) return;
  if constexpr (kHasRing) {
    KILN_SHARED(State, ring, kRingVectors * kVector * kKdaThreads);
    RingLoads loads(ring);
    run_tiles(p, place, cursor, loads);
  } else {
    RegisterLoads loads;
    run_tiles(p, place, cursor, loads);
  }
}

}  // namespace kiln
