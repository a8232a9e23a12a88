// SPDX-License-Identifier: Apache-2.0
// kda_prefill in chunks of 16 tokens, in two launches (see chunked.cc for the maths). What depends
// on no state, which is most of the work, is prepared for all chunks at once, into a workspace:
//   M = (1 + A)^-1 diag(beta),  w_i = sum over j <= i of M_ij (k_j P_j)
//   u = M v - w S,  o = (q P) S + B u,  S = diag(P_15) S + (k R)^T u
// The second launch takes states through the chunks of their sequences with these products alone.
// A block has 32 values of a state; on warps of 32 lanes, two warps share 16 of them, each with
// half of the keys, and meet once in every chunk.
#include "kda/lanes.h"
#include "kda_prefill/chunk_places.h"
#include "kda_prefill/params.h"
#include "kda_prefill/prepare_chunk.h"
#include "kda_prefill/slots.h"
#include "kda_prefill/squares.h"
#include "kiln/async_copy.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/shared.h"

namespace kiln {
namespace kda_prefill_detail {

constexpr int kScanTiles = kWarps / kKeyParts;  // of 16 values, of a block
constexpr int kPartTiles = kKeyTiles / kKeyParts;
static_assert(kScanTiles * 16 == kKdaPrefillScanValues, "the launch plan's slices");

// 16 values of a state, by a warp's part of the keys.
struct States {
  Square squares[kPartTiles];
};

struct ScanPlace {
  int warp_of_block = warp();
  int tile = warp_of_block / kKeyParts;
  int part = warp_of_block % kKeyParts;
  KILN_DEVICE int key(int s) const { return (part * kPartTiles + s) * kChunk; }
};

KILN_DEVICE int state_at(int value, int key) {
  return kVk ? value * shape::K + key : key * shape::V + value;
}

KILN_DEVICE void load_states(const Global<State>& matrix, const ScanPlace& place, int value,
                             States& states) {
#pragma unroll
  for (int s = 0; s < kPartTiles; ++s) {
#pragma unroll
    for (int e = 0; e < Square::kElements; ++e) {
      states.squares[s].at(e) =
          to_float(matrix.load(state_at(value + Square::v(e), place.key(s) + Square::x(e))));
    }
  }
}

KILN_DEVICE void store_states(const Global<State>& matrix, const ScanPlace& place, int value,
                              States& states) {
#pragma unroll
  for (int s = 0; s < kPartTiles; ++s) {
#pragma unroll
    for (int e = 0; e < Square::kElements; ++e) {
      matrix.store(state_at(value + Square::v(e), place.key(s) + Square::x(e)),
                   from_float<State>(states.squares[s].at(e)));
    }
  }
}

// v of 16 values and the tokens of a chunk, as it lies in memory.
struct Values {
  Io at[Square::kElements];
};

KILN_DEVICE Values load_values(const KdaParams& p, i64 n, i64 t, int hv, int value, int count) {
  Values values;
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) {
    const int token = Square::x(e);
    values.at[e] = from_float<Io>(0.0f);
    if (token < count) values.at[e] = v_of(p, n, t + token, hv).load(value + Square::v(e));
  }
  return values;
}

KILN_DEVICE void copy_record(const Global<u32>& record, const Shared<u32>& words, int stage) {
  for (int i = thread_rank() * 4; i < kAt.words; i += kKdaThreads * 4) {
    async_copy<4>(words, stage + i, record, i);
  }
}

// The other parts' sums over their keys: all of u, and this part's share of the outputs.
KILN_DEVICE void exchange_sums(const ScanPlace& place, const Shared<float>& room, Square& u,
                               Square& out) {
  if constexpr (kKeyParts == 1) return;
  const auto at = [](int warp_of_block, int e) {
    return (warp_of_block * kKdaPrefillExchange + e) * warp_size + lane();
  };
  Share others = share_of(out, 1 - place.part);
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) room.store(at(place.warp_of_block, e), u.at(e));
#pragma unroll
  for (int e = 0; e < Share::kElements; ++e) {
    room.store(at(place.warp_of_block, Square::kElements + e), others.at(e));
  }
  block_barrier();
  Share own;
  const int other = place.warp_of_block ^ 1;
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) u.at(e) += room.load(at(other, e));
#pragma unroll
  for (int e = 0; e < Share::kElements; ++e) {
    own.at(e) = room.load(at(other, Square::kElements + e));
  }
  add_share(own, place.part, out);
}

// A warp's part of the state through a chunk, whose record begins at `stage`.
KILN_DEVICE Share run_chunk(const ScanPlace& place, const Values& v, const Shared<u32>& words,
                            int stage, const Shared<float>& room, States& states) {
  Square values, u, out;
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) values.at(e) = to_float(v.at[e]);
  Share own_u;
  multiply<is_same<Io, bf16>>(Operand(values), words, stage + kAt.m, place.part, own_u);
  add_share(own_u, place.part, u);
#pragma unroll
  for (int s = 0; s < kPartTiles; ++s) {
    const Operand state(states.squares[s]);
    const int tile = stage + place.key(s) / kChunk * kKdaPrefillTileWords;
    multiply(state, words, tile + kAt.minus_w, u);
    multiply(state, words, tile + kAt.q, out);
  }
  exchange_sums(place, room, u, out);
  const Operand u_operand(u);
  Share own_out = share_of(out, place.part);
  multiply<false>(u_operand, words, stage + kAt.b, place.part, own_out);
#pragma unroll
  for (int s = 0; s < kPartTiles; ++s) {
#pragma unroll
    for (int e = 0; e < Square::kElements; ++e) {
      const u32 whole = words.load(stage + kAt.whole + place.key(s) + Square::x(e));
      states.squares[s].at(e) *= bit_cast<float>(whole);
    }
    const int tile = stage + place.key(s) / kChunk * kKdaPrefillTileWords;
    multiply(u_operand, words, tile + kAt.ends, states.squares[s]);
  }
  return own_out;
}

KILN_DEVICE void store_out(const KdaParams& p, i64 n, i64 t, int hv, int value, int count,
                           const ScanPlace& place, Share& out) {
#pragma unroll
  for (int e = 0; e < Share::kElements; ++e) {
    const int token = Share::x(e, place.part);
    if (token >= count) continue;
    out_of(p, n, t + token, hv).store(value + Share::v(e), from_float<Io>(out.at(e)));
  }
}

KILN_DEVICE void clear_values(const KdaParams& p, i64 n, const Sequence& tokens, int hv,
                              int first) {
  for (i64 i = thread_rank(); i < tokens.length * kKdaPrefillScanValues; i += kKdaThreads) {
    out_of(p, n, tokens.first + i / kKdaPrefillScanValues, hv)
        .store(first + i % kKdaPrefillScanValues, from_float<Io>(0.0f));
  }
}

}  // namespace kda_prefill_detail

// Grid: x counts (chunk, value head), heads first. Block: 128 threads.
KILN_KERNEL(128, 4) kda_prefill_prepare(KILN_PARAMS(KdaPrefillParams) p) {
  using namespace kda_prefill_detail;
  using namespace kda_detail;
  KILN_SHARED(float, k, kChunk* kStride);
  KILN_SHARED(float, q, kChunk* kStride);
  KILN_SHARED(float, decay, kChunk* kStride);
  KILN_SHARED(float, beta, kChunk);
  KILN_SHARED(float, a, kChunk* kChunk);
  KILN_SHARED(float, b, kChunk* kChunk);
  KILN_SHARED(float, m, kChunk* kChunk);
  const Chunk chunk{{k, q, decay, beta}, a, b, m};
  dependency_wait();
  launch_dependents();

  const i64 number = block_idx().x / shape::HV;
  const int hv = static_cast<int>(block_idx().x % shape::HV);
  const ChunkPlace place = chunk_at(p, number);
  if (place.count < 1) return;
  const i64 slot = slot_at(p.slots, p.slot_bytes, place.n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) return;

  for (int row = warp(); row < kChunk; row += kWarps) {
    load_row(p, place.n, place.token + row, hv, row, row < place.count, chunk);
  }
  block_barrier();
#pragma unroll 1
  for (int j = warp(); j < kChunk; j += kWarps) multiply_tokens(j, chunk);
  block_barrier();
  const Global<u32> record = record_at(p, number, hv);
  const int key = thread_rank();
  float k_decayed[kChunk];
  if (thread_rank() < kChunk) invert_column(thread_rank(), chunk);
  if (key < shape::K) {
    record.store(kAt.whole + key, bit_cast<u32>(decay_rows(key, chunk, k_decayed)));
  }
  block_barrier();
  if (key < shape::K) solve_key(key, chunk, k_decayed);
  block_barrier();
  store_record(chunk, record);
}

// Grid: x counts the states (sequence, value head), y the slices of 32 values. Block: 128 threads.
KILN_KERNEL(128, 2) kda_prefill_scan(KILN_PARAMS(KdaPrefillParams) p) {
  using namespace kda_prefill_detail;
  using namespace kda_detail;
  KILN_SHARED_DYNAMIC(u32, words, 0, 2 * kAt.words);
  KILN_SHARED_DYNAMIC(float, room, 8 * kAt.words, kKdaPrefillExchange * kKdaThreads);
  dependency_wait();
  launch_dependents();

  const i64 n = block_idx().x / shape::HV;
  const int hv = static_cast<int>(block_idx().x % shape::HV);
  const int slice = static_cast<int>(block_idx().y) * kKdaPrefillScanValues;
  const ScanPlace place;
  const int value = slice + place.tile * 16;  // the warp's first
  const Sequence tokens = tokens_of(p, n);
  const i64 slot = slot_at(p.slots, p.slot_bytes, n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) {
    clear_values(p, n, tokens, hv, slice);
    return;
  }
  States states = {};
  const i64 from = initial_slot(p, n, slot);
  if (from >= 0) load_states(matrix_of(p.state, from, hv), place, value, states);
  const i64 first = first_chunk(p, n, tokens);
  const auto count_at = [&](i64 done) {
    return static_cast<int>(min(tokens.length - done, i64{kChunk}));
  };
  Values v = {};
  if (tokens.length > 0) {
    copy_record(record_at(p, first, hv), words, 0);
    v = load_values(p, n, tokens.first, hv, value, count_at(0));
  }
  async_commit();
#pragma unroll 1
  for (i64 done = 0; done < tokens.length;) {
    const i64 chunk = done / kChunk;
    const int stage = static_cast<int>(chunk % 2) * kAt.words;
    const int count = count_at(done);
    const i64 next = done + kChunk;
    async_wait<0>();
    block_barrier();  // the record is here, and nobody reads the one before it any more
    Values v_next = {};
    if (next < tokens.length) {
      copy_record(record_at(p, first + chunk + 1, hv), words, kAt.words - stage);
      v_next = load_values(p, n, tokens.first + next, hv, value, count_at(next));
    }
    async_commit();
    Share out = run_chunk(place, v, words, stage, room, states);
    store_out(p, n, tokens.first + done, hv, value, count, place, out);
    v = v_next;
    done += count;
    const i64 checkpoint = checkpoint_slot(p, n, done);
    if (checkpoint >= 0) {
      store_states(matrix_of(p.checkpoints, checkpoint, hv), place, value, states);
    }
  }
  store_states(matrix_of(p.state, slot, hv), place, value, states);
}

}  // namespace kiln
