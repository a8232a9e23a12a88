// SPDX-License-Identifier: Apache-2.0
// kda_prefill in chunks of 16 tokens on matrix instructions (see chunked.cc for the maths, whose
// names are used here). A block takes 64 values of a state through a sequence; each warp keeps its
// values of the state in the registers of matrix instructions from chunk to chunk. What all values
// share, the block computes for each chunk into shared memory: decayed rows of k and q, A, B, and
// the inverse of 1 + A, by which u is one more product.
#include "kda/lanes.h"
#include "kda_prefill/chunk.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slots.h"
#include "kda_prefill/squares.h"
#include "kda_prefill/token_rows.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/shared.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kChunk = kKdaPrefillChunk;
constexpr int kSquares = shape::K / kChunk;                   // of 16 values of the state
constexpr int kValueTiles = kKdaPrefillValues / 16 / kWarps;  // of 16 values, of a warp
constexpr KdaPrefillShared kAt = kda_prefill_shared(shape::K);

// A matrix as the sum of two.
struct Halves {
  Shared<bf16> high, low;
};

// A chunk in shared memory. Rows behind the last token are zeros.
struct Chunk : TokenRows<shape::K> {
  Shared<float> whole;  // [K]: P_15
  Shared<float> a;      // [16][16]
  Halves rows;          // [32][K + 8]: k_i P_i, then q_i P_i; high and low
  Halves ends;          // [K][24]: k_j R_j
  Halves inverse;       // [16][24]: of 1 + A
  Halves b;             // [16][24]: B
};

KILN_DEVICE void store_high_low(const Halves& to, int at, float x) {
  const HighLow parts(x);
  to.high.store(at, from_float<bf16>(parts.high));
  to.low.store(at, from_float<bf16>(parts.low));
}

// Products of decays, one key per thread.
KILN_DEVICE void decay_rows(const Chunk& chunk) {
  constexpr int kStride = shape::K + kKdaPrefillRowPadding;
  for (int key = thread_rank(); key < shape::K; key += kKdaThreads) {
    float decay = 1.0f;
#pragma unroll 4
    for (int i = 0; i < kChunk; ++i) {
      decay *= chunk.decay.load(i * shape::K + key);
      store_high_low(chunk.rows, i * kStride + key, chunk.k.load(i * shape::K + key) * decay);
      store_high_low(chunk.rows, (kChunk + i) * kStride + key,
                     chunk.q.load(i * shape::K + key) * decay);
    }
    chunk.whole.store(key, decay);
    decay = 1.0f;
#pragma unroll 4
    for (int i = kChunk - 1; i >= 0; --i) {
      store_high_low(chunk.ends, key * kKdaPrefillTokenStride + i,
                     chunk.k.load(i * shape::K + key) * decay);
      decay *= chunk.decay.load(i * shape::K + key);
    }
  }
}

// Column j of A and B, by a warp: k_j decays from token to token on its way to each of them.
KILN_DEVICE void multiply_tokens(int j, const Chunk& chunk) {
  float k_j[kLaneKeys];
  // In parts of eight: the sum of more at once would not stay in registers.
  constexpr int kPart = 8;
  float sums_k[kChunk / kPart][kPart], sums_q[kChunk / kPart][kPart];
#pragma unroll
  for (int c = 0; c < kLaneKeys; ++c) k_j[c] = chunk.k.load(j * shape::K + key_of(c));
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    float along_k = 0.0f, along_q = 0.0f;
    if (i >= j) {
#pragma unroll
      for (int c = 0; c < kLaneKeys; ++c) {
        const int at = i * shape::K + key_of(c);
        if (i > j) k_j[c] *= chunk.decay.load(at);
        along_k = fma(k_j[c], chunk.k.load(at), along_k);
        along_q = fma(k_j[c], chunk.q.load(at), along_q);
      }
    }
    sums_k[i / kPart][i % kPart] = along_k;
    sums_q[i / kPart][i % kPart] = along_q;
  }
#pragma unroll
  for (int part = 0; part < kChunk / kPart; ++part) {
    const float sum_k = group_sum_scattered<warp_size>(sums_k[part], lane());
    const float sum_q = group_sum_scattered<warp_size>(sums_q[part], lane());
    const int i = part * kPart + lane();
    if (lane() >= kPart) continue;
    chunk.a.store(i * kChunk + j, i > j ? sum_k * chunk.beta.load(i) : 0.0f);
    store_high_low(chunk.b, i * kKdaPrefillTokenStride + j, i < j ? 0.0f : sum_q);
  }
}

// Column `column` of the inverse of 1 + A, by one thread.
KILN_DEVICE void invert_column(int column, const Chunk& chunk) {
  float x[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    x[i] = i == column ? 1.0f : 0.0f;
#pragma unroll
    for (int j = 0; j < i; ++j) x[i] = fma(-chunk.a.load(i * kChunk + j), x[j], x[i]);
    store_high_low(chunk.inverse, i * kKdaPrefillTokenStride + column, x[i]);
  }
}

KILN_DEVICE void prepare_chunk(const KdaParams& p, i64 n, i64 t, int hv, int count,
                               const Chunk& chunk) {
  for (int row = warp(); row < kChunk; row += kWarps) {
    load_row(p, n, t + row, hv, row, row < count, chunk);
  }
  block_barrier();
  decay_rows(chunk);
#pragma unroll 1
  for (int j = warp(); j < kChunk; j += kWarps) multiply_tokens(j, chunk);
  block_barrier();
  if (thread_rank() < kChunk) invert_column(thread_rank(), chunk);
  block_barrier();
}

// 16 values of a state, by keys.
struct States {
  Square squares[kSquares];
};

KILN_DEVICE int state_at(int value, int key) {
  return kVk ? value * shape::K + key : key * shape::V + value;
}

KILN_DEVICE void load_states(const Global<State>& matrix, int value, States& states) {
#pragma unroll
  for (int s = 0; s < kSquares; ++s) {
#pragma unroll
    for (int e = 0; e < Square::kElements; ++e) {
      states.squares[s].at(e) =
          to_float(matrix.load(state_at(value + Square::v(e), s * kChunk + Square::x(e))));
    }
  }
}

KILN_DEVICE void store_states(const Global<State>& matrix, int value, States& states) {
#pragma unroll
  for (int s = 0; s < kSquares; ++s) {
#pragma unroll
    for (int e = 0; e < Square::kElements; ++e) {
      matrix.store(state_at(value + Square::v(e), s * kChunk + Square::x(e)),
                   from_float<State>(states.squares[s].at(e)));
    }
  }
}

// 16 values of the state through a chunk.
KILN_DEVICE void run_chunk(const KdaParams& p, i64 n, i64 t, int hv, int value, int count,
                           const Chunk& chunk, States& states) {
  const StaticMatrix rows(chunk.rows.high, chunk.rows.low, shape::K + kKdaPrefillRowPadding);
  const StaticMatrix ends(chunk.ends.high, chunk.ends.low, kKdaPrefillTokenStride);
  const StaticMatrix inverse(chunk.inverse.high, chunk.inverse.low, kKdaPrefillTokenStride);
  const StaticMatrix b(chunk.b.high, chunk.b.low, kKdaPrefillTokenStride);
  Square along_k, out;
#pragma unroll
  for (int s = 0; s < kSquares; ++s) {
    const Operand state(states.squares[s]);
    multiply(state, rows, 0, s * kChunk, along_k);
    multiply(state, rows, kChunk, s * kChunk, out);
  }
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) {
    const int token = Square::x(e);
    float v = 0.0f;
    if (token < count) v = to_float(v_of(p, n, t + token, hv).load(value + Square::v(e)));
    along_k.at(e) = chunk.beta.load(token) * (v - along_k.at(e));
  }
  const Operand right(along_k);
  Square u;
  multiply(right, inverse, 0, 0, u);
  const Operand u_operand(u);
  multiply(u_operand, b, 0, 0, out);
#pragma unroll
  for (int e = 0; e < Square::kElements; ++e) {
    const int token = Square::x(e);
    if (token >= count) continue;
    out_of(p, n, t + token, hv).store(value + Square::v(e), from_float<Io>(out.at(e)));
  }
#pragma unroll
  for (int s = 0; s < kSquares; ++s) {
#pragma unroll
    for (int e = 0; e < Square::kElements; ++e) {
      states.squares[s].at(e) *= chunk.whole.load(s * kChunk + Square::x(e));
    }
    multiply(u_operand, ends, s * kChunk, 0, states.squares[s]);
  }
}

KILN_DEVICE void clear_values(const KdaParams& p, i64 n, const Sequence& tokens, int hv,
                              int first) {
  for (i64 t = 0; t < tokens.length; ++t) {
    const Global<Io> out = out_of(p, n, tokens.first + t, hv);
    for (int i = thread_rank(); i < kKdaPrefillValues; i += kKdaThreads) {
      out.store(first + i, from_float<Io>(0.0f));
    }
  }
}

}  // namespace kda_prefill_detail

// Grid: x counts the states (sequence, value head), y the slices of 64 values. Block: 128 threads.
KILN_KERNEL(128, 2) kda_prefill_chunked(KILN_PARAMS(KdaPrefillParams) p) {
  using namespace kda_prefill_detail;
  using namespace kda_detail;
  KILN_SHARED_DYNAMIC(float, k, kAt.k, kChunk* shape::K);
  KILN_SHARED_DYNAMIC(float, q, kAt.q, kChunk* shape::K);
  KILN_SHARED_DYNAMIC(float, decay, kAt.decay, kChunk* shape::K);
  KILN_SHARED_DYNAMIC(float, whole, kAt.whole, shape::K);
  KILN_SHARED_DYNAMIC(float, a, kAt.a, kChunk* kChunk);
  KILN_SHARED_DYNAMIC(float, beta, kAt.beta, kChunk);
  KILN_SHARED_DYNAMIC(bf16, rows_high, kAt.rows[0], kAt.rows_count);
  KILN_SHARED_DYNAMIC(bf16, rows_low, kAt.rows[1], kAt.rows_count);
  KILN_SHARED_DYNAMIC(bf16, ends_high, kAt.ends[0], kAt.ends_count);
  KILN_SHARED_DYNAMIC(bf16, ends_low, kAt.ends[1], kAt.ends_count);
  KILN_SHARED_DYNAMIC(bf16, inverse_high, kAt.inverse[0], kAt.square_count);
  KILN_SHARED_DYNAMIC(bf16, inverse_low, kAt.inverse[1], kAt.square_count);
  KILN_SHARED_DYNAMIC(bf16, b_high, kAt.b[0], kAt.square_count);
  KILN_SHARED_DYNAMIC(bf16, b_low, kAt.b[1], kAt.square_count);
  const Chunk chunk{
      {k, q, decay, beta},         whole,          a, {rows_high, rows_low}, {ends_high, ends_low},
      {inverse_high, inverse_low}, {b_high, b_low}};
  dependency_wait();
  launch_dependents();

  const i64 n = block_idx().x / shape::HV;
  const int hv = static_cast<int>(block_idx().x % shape::HV);
  const int slice = static_cast<int>(block_idx().y) * kKdaPrefillValues;
  const int value = slice + warp() * kValueTiles * 16;  // the warp's first
  const Sequence tokens = tokens_of(p, n);
  const i64 slot = slot_at(p.slots, p.slot_bytes, n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) {
    clear_values(p, n, tokens, hv, slice);
    return;
  }
  States states[kValueTiles];
  const i64 from = initial_slot(p, n, slot);
  if (from >= 0) {
#pragma unroll
    for (int i = 0; i < kValueTiles; ++i) {
      load_states(matrix_of(p.state, from, hv), value + i * 16, states[i]);
    }
  }
#pragma unroll 1
  for (i64 done = 0; done < tokens.length;) {
    const int count = static_cast<int>(min(tokens.length - done, i64{kChunk}));
    prepare_chunk(p, n, tokens.first + done, hv, count, chunk);
#pragma unroll
    for (int i = 0; i < kValueTiles; ++i) {
      run_chunk(p, n, tokens.first + done, hv, value + i * 16, count, chunk, states[i]);
      warp_barrier();  // or a compiler loads for the next values ahead until registers run out
    }
    block_barrier();
    done += count;
    const i64 checkpoint = checkpoint_slot(p, n, done);
    if (checkpoint < 0) continue;
#pragma unroll
    for (int i = 0; i < kValueTiles; ++i) {
      store_states(matrix_of(p.checkpoints, checkpoint, hv), value + i * 16, states[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kValueTiles; ++i) {
    store_states(matrix_of(p.state, slot, hv), value + i * 16, states[i]);
  }
}

}  // namespace kiln
