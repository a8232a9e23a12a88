// SPDX-License-Identifier: Apache-2.0
// kda_prefill on the native CPU in chunks of 16 tokens, so that the state is multiplied by matrices
// and not by vectors. With d_t the decay of token t, P_i the product of d_0 ... d_i, R_j that of
// d_j+1 ... d_15 and D_ij that of d_j+1 ... d_i, all of them per key, and S the state before:
//
//   A_ij = beta_i (k_i D_ij) . k_j, j < i      B_ij = (q_i D_ij) . k_j, j <= i
//   u_i  = beta_i (v_i - S (k_i P_i)) - sum over j < i of A_ij u_j
//   o_i  = S (q_i P_i) + sum over j <= i of B_ij u_j
//   S    = S diag(P_15) + sum over j of u_j (k_j R_j)^T
//
// Every decay is a product of factors that are themselves decays of these tokens, at most 1: it is
// as exact as in the recurrence whatever the gate, never too large, and zero only where the
// recurrence has nothing left either.
//
// A work item is one state matrix, or a slice of its values where there are fewer of them than
// cores. The state lies in the worker's scratch memory in fp32, in panels of a few values, each of
// them for all keys: what a panel needs stays in the first-level cache.
#include "kda/cpu_rows.h"
#include "kda_prefill/chunk.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slots.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kChunk = kKdaPrefillChunk;
// The block of a product that stays in registers: half of these, the rest for its operands.
constexpr int kBlockRows = vector_lanes == 16 ? 8 : 4;
constexpr int kBlockVectors = 2;
constexpr int kPanel = kBlockVectors * vector_lanes;  // values
constexpr int kPanels = shape::V / kPanel;
// Vectors of keys that the products of decays are kept for in registers.
constexpr int kKeyVectors = min(vector_lanes == 16 ? 8 : 4, shape::K / vector_lanes);
static_assert(shape::K % (kKeyVectors * vector_lanes) == 0 && shape::V % kPanel == 0, "");

// Rows behind the last token are zeros; there is one more row than tokens, so that two can be taken
// at once.
struct alignas(64) Scratch {
  float decay[kChunk + 1][shape::K];
  float k[kChunk + 1][shape::K];           // normalised
  float q[kChunk + 1][shape::K];           // normalised and scaled
  float from_start[2 * kChunk][shape::K];  // k_i P_i, then q_i P_i
  float to_end[kChunk][shape::K];          // k_j R_j
  float whole[shape::K];                   // P_15
  float a[kChunk + 1][kChunk];             // A
  float b[kChunk + 1][kChunk];             // B
  float beta[kChunk];
  float products[2 * kChunk][kPanel];  // of from_start with the panel
  float u[kChunk][kPanel];
  float row[shape::K];
  float state[kPanels][shape::K][kPanel];
};
static_assert(sizeof(Scratch) <= kKilnCpuScratchBytes, "refused by can_build");

// One item: panels [first, last) of a state.
struct Item {
  i64 n;
  int hv;
  int first;
  int last;
};

KILN_DEVICE void load_state(const KdaPool& pool, i64 slot, const Item& item, Scratch& scratch) {
  const State* matrix = slice_of(pool, slot, item.hv, 0, shape::V).data;
  for (int panel = item.first; panel < item.last; ++panel) {
    if constexpr (kVk) {
      for (int i = 0; i < kPanel; ++i) {
        const State* from = matrix + (panel * kPanel + i) * shape::K;
        for (int j = 0; j < shape::K; j += kPair) {  // in the order of the other keys
          store_pair<float>(scratch.row + j, load_pair<KeyOrder>(from + j));
        }
        for (int j = 0; j < shape::K; ++j) scratch.state[panel][j][i] = scratch.row[j];
      }
    } else {
      for (int j = 0; j < shape::K; ++j) {
        for (int i = 0; i < kPanel; i += vector_lanes) {
          store(scratch.state[panel][j] + i, load(matrix + j * shape::V + panel * kPanel + i));
        }
      }
    }
  }
}

KILN_DEVICE void store_state(const KdaPool& pool, i64 slot, const Item& item, Scratch& scratch) {
  State* matrix = slice_of(pool, slot, item.hv, 0, shape::V).data;
  for (int panel = item.first; panel < item.last; ++panel) {
    if constexpr (kVk) {
      for (int i = 0; i < kPanel; ++i) {
        for (int j = 0; j < shape::K; ++j) scratch.row[j] = scratch.state[panel][j][i];
        State* to = matrix + (panel * kPanel + i) * shape::K;
        for (int j = 0; j < shape::K; j += kPair) {
          store_pair<KeyOrder>(to + j, load_pair<float>(scratch.row + j));
        }
      }
    } else {
      for (int j = 0; j < shape::K; ++j) {
        for (int i = 0; i < kPanel; i += vector_lanes) {
          store(matrix + j * shape::V + panel * kPanel + i, load(scratch.state[panel][j] + i));
        }
      }
    }
  }
}

KILN_DEVICE void clear_state(const Item& item, Scratch& scratch) {
  for (int panel = item.first; panel < item.last; ++panel) {
    for (int i = 0; i < shape::K * kPanel; i += vector_lanes) {
      store(scratch.state[panel][0] + i, Floats(0.0f));
    }
  }
}

KILN_DEVICE void scale_row(float* row, float factor) {
  for (int j = 0; j < shape::K; j += vector_lanes) store(row + j, load(row + j) * Floats(factor));
}

KILN_DEVICE void fill_row(float* row, float value) {
  for (int j = 0; j < shape::K; j += vector_lanes) store(row + j, Floats(value));
}

// Tokens t to t + count - 1: what they bring, without the values.
KILN_DEVICE void load_tokens(const KdaParams& p, const Item& item, i64 t, int count,
                             Scratch& scratch) {
  const int h = item.hv / (shape::HV / shape::H);
  for (int i = 0; i < count; ++i) {
    load_row<Io>(p.q.data, offset_of(p.q, item.n, t + i, h), 1.0f, scratch.q[i]);
    load_row<Io>(p.k.data, offset_of(p.k, item.n, t + i, h), 1.0f, scratch.k[i]);
    float q_factor = p.scale;
    if constexpr (shape::qk_l2norm) {
      q_factor *= rsqrt(dot(scratch.q[i], scratch.q[i]) + p.l2norm_eps);
      scale_row(scratch.k[i], rsqrt(dot(scratch.k[i], scratch.k[i]) + p.l2norm_eps));
    }
    scale_row(scratch.q[i], q_factor);
    scratch.beta[i] = beta_of(to_float(*element_of<GateIo>(p.b, item.n, t + i, item.hv)));
    load_decay(p, item.n, t + i, item.hv, scratch.decay[i]);
  }
  for (int i = count; i < kChunk + 1; ++i) {
    fill_row(scratch.q[i], 0.0f);
    fill_row(scratch.k[i], 0.0f);
    fill_row(scratch.decay[i], 1.0f);
    if (i < kChunk) scratch.beta[i] = 0.0f;
  }
}

KILN_DEVICE void decay_rows(Scratch& scratch) {
  for (int j = 0; j < shape::K; j += vector_lanes) {
    Floats decay(1.0f);
    for (int i = 0; i < kChunk; ++i) {
      decay *= load(scratch.decay[i] + j);
      store(scratch.from_start[i] + j, load(scratch.k[i] + j) * decay);
      store(scratch.from_start[kChunk + i] + j, load(scratch.q[i] + j) * decay);
    }
    store(scratch.whole + j, decay);
    decay = Floats(1.0f);
    for (int i = kChunk - 1; i >= 0; --i) {
      store(scratch.to_end[i] + j, load(scratch.k[i] + j) * decay);
      decay *= load(scratch.decay[i] + j);
    }
  }
}

// What tokens i and i + 1 add to A and B over some keys; k_j, decayed as far as i - 1, goes on to
// i + 1.
KILN_DEVICE void add_pair(Scratch& scratch, int i, int j, int key, Floats (&k_j)[kKeyVectors]) {
  Floats a[2] = {}, b[2] = {};
#pragma clang loop unroll(full)
  for (int x = 0; x < 2; ++x) {
#pragma clang loop unroll(full)
    for (int c = 0; c < kKeyVectors; ++c) {
      const int at = key + c * vector_lanes;
      k_j[c] *= load(scratch.decay[i + x] + at);
      a[x] = fma(k_j[c], load(scratch.k[i + x] + at), a[x]);
      b[x] = fma(k_j[c], load(scratch.q[i + x] + at), b[x]);
    }
  }
  const Floats4 sums = horizontal_sums(a[0], b[0], a[1], b[1]);
  scratch.a[i][j] += sums[0];
  scratch.b[i][j] += sums[1];
  scratch.a[i + 1][j] += sums[2];
  scratch.b[i + 1][j] += sums[3];
}

template <class T>
KILN_DEVICE void prefetch_head(const KdaHeads& heads, i64 n, i64 t, int head, int size) {
  const T* row = element_of<T>(heads, n, t, head);
  for (int i = 0; i < size; i += 64 / int{sizeof(T)}) prefetch(row + i);
}

// The rows of a token that is yet to come: strided, so that no prefetcher sees them.
KILN_DEVICE void prefetch_token(const KdaParams& p, const Item& item, i64 t) {
  const int h = item.hv / (shape::HV / shape::H);
  prefetch_head<Io>(p.q, item.n, t, h, shape::K);
  prefetch_head<Io>(p.k, item.n, t, h, shape::K);
  prefetch_head<Io>(p.v, item.n, t, item.hv, shape::V);
  prefetch_head<GateIo>(p.a, item.n, t, item.hv, kScalarGate ? 1 : shape::K);
  prefetch_head<GateIo>(p.b, item.n, t, item.hv, 1);
}

// `coming`: tokens that follow these; as many are asked for in between.
KILN_DEVICE void multiply_tokens(const KdaParams& p, const Item& item, i64 t, int count, int coming,
                                 Scratch& scratch) {
  for (int i = 0; i < kChunk + 1; ++i) {
    for (int j = 0; j < kChunk; ++j) scratch.a[i][j] = scratch.b[i][j] = 0.0f;
  }
  for (int j = 0; j < count; ++j) {
    if (j < coming) prefetch_token(p, item, t + kChunk + j);
    scratch.b[j][j] = dot(scratch.q[j], scratch.k[j]);
    for (int key = 0; key < shape::K; key += kKeyVectors * vector_lanes) {
      Floats k_j[kKeyVectors];
      for (int c = 0; c < kKeyVectors; ++c) k_j[c] = load(scratch.k[j] + key + c * vector_lanes);
#pragma clang loop unroll(disable)
      for (int i = j + 1; i < count; i += 2) add_pair(scratch, i, j, key, k_j);
    }
  }
  for (int i = 0; i < count; ++i) {
    for (int j = 0; j < i; ++j) scratch.a[i][j] *= scratch.beta[i];
  }
}

// One block of c = a b; b and c have rows of a panel.
KILN_DEVICE void multiply_block(const float* a, const float* b, float* c) {
  Floats sums[kBlockRows][kBlockVectors] = {};
#pragma clang loop unroll_count(2)
  for (int d = 0; d < shape::K; ++d) {
    Floats columns[kBlockVectors];
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) columns[x] = load(b + d * kPanel + x * vector_lanes);
#pragma clang loop unroll(full)
    for (int r = 0; r < kBlockRows; ++r) {
      const Floats row(a[r * shape::K + d]);
#pragma clang loop unroll(full)
      for (int x = 0; x < kBlockVectors; ++x) sums[r][x] = fma(row, columns[x], sums[r][x]);
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < kBlockRows; ++r) {
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      store(c + r * kPanel + x * vector_lanes, sums[r][x]);
    }
  }
}

// u, a row after the other, and from it the outputs.
KILN_DEVICE void solve(const KdaParams& p, const Item& item, i64 t, int count, int panel,
                       Scratch& scratch) {
  for (int i = 0; i < count; ++i) {
    const Io* v = element_of<Io>(p.v, item.n, t + i, item.hv) + panel * kPanel;
    const Floats beta(scratch.beta[i]);
    Floats u[kBlockVectors], o[kBlockVectors];
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      const int at = x * vector_lanes;
      u[x] = beta * (load(v + at) - load(scratch.products[i] + at));
      o[x] = load(scratch.products[kChunk + i] + at);
    }
    for (int j = 0; j < i; ++j) {
      const Floats a(-scratch.a[i][j]), b(scratch.b[i][j]);
#pragma clang loop unroll(full)
      for (int x = 0; x < kBlockVectors; ++x) {
        const Floats earlier = load(scratch.u[j] + x * vector_lanes);
        u[x] = fma(a, earlier, u[x]);
        o[x] = fma(b, earlier, o[x]);
      }
    }
    Io* out = out_of(p, item.n, t + i, item.hv) + panel * kPanel;
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      store(scratch.u[i] + x * vector_lanes, u[x]);
      store(out + x * vector_lanes, fma(Floats(scratch.b[i][i]), u[x], o[x]));
    }
  }
}

// Keys `key` to key + kBlockRows - 1 of a panel go to the chunk's end.
KILN_DEVICE void update_block(int count, int key, float* state, const Scratch& scratch) {
  Floats rows[kBlockRows][kBlockVectors];
#pragma clang loop unroll(full)
  for (int r = 0; r < kBlockRows; ++r) {
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      rows[r][x] = load(state + r * kPanel + x * vector_lanes) * Floats(scratch.whole[key + r]);
    }
  }
  for (int i = 0; i < count; ++i) {
    Floats u[kBlockVectors];
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) u[x] = load(scratch.u[i] + x * vector_lanes);
#pragma clang loop unroll(full)
    for (int r = 0; r < kBlockRows; ++r) {
      const Floats k(scratch.to_end[i][key + r]);
#pragma clang loop unroll(full)
      for (int x = 0; x < kBlockVectors; ++x) rows[r][x] = fma(k, u[x], rows[r][x]);
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < kBlockRows; ++r) {
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      store(state + r * kPanel + x * vector_lanes, rows[r][x]);
    }
  }
}

// Tokens t to t + count - 1, after which `coming` follow.
KILN_DEVICE void run_chunk(const KdaParams& p, const Item& item, i64 t, int count, int coming,
                           Scratch& scratch) {
  load_tokens(p, item, t, count, scratch);
  decay_rows(scratch);
  multiply_tokens(p, item, t, count, coming, scratch);
  for (int panel = item.first; panel < item.last; ++panel) {
    float* state = scratch.state[panel][0];
    for (int row = 0; row < 2 * kChunk; row += kBlockRows) {
      multiply_block(scratch.from_start[row], state, scratch.products[row]);
    }
    solve(p, item, t, count, panel, scratch);
    for (int key = 0; key < shape::K; key += kBlockRows) {
      update_block(count, key, state + key * kPanel, scratch);
    }
  }
}

KILN_DEVICE void run_item(const KdaPrefillParams& p, const Item& item, Scratch& scratch) {
  const Sequence tokens = tokens_of(p, item.n);
  const i64 slot = slot_at(p.slots, p.slot_bytes, item.n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) {
    clear_tokens(p, item.n, tokens, item.hv, item.first * kPanel,
                 (item.last - item.first) * kPanel);
    return;
  }
  const i64 from = initial_slot(p, item.n, slot);
  if (from < 0) {
    clear_state(item, scratch);
  } else {
    load_state(p.state, from, item, scratch);
  }
  for (i64 done = 0; done < tokens.length;) {
    const int count = static_cast<int>(min(tokens.length - done, i64{kChunk}));
    const int coming = static_cast<int>(min(tokens.length - done - count, i64{kChunk}));
    run_chunk(p, item, tokens.first + done, count, coming, scratch);
    done += count;
    const i64 checkpoint = checkpoint_slot(p, item.n, done);
    if (checkpoint >= 0) store_state(p.checkpoints, checkpoint, item, scratch);
  }
  store_state(p.state, slot, item, scratch);
}

}  // namespace kda_prefill_detail

// Items: states times kKdaPrefillSlices, of which those are used that there are cores for.
KILN_CPU_KERNEL(kda_prefill_chunked_cpu, host, params, first, last) {
  using namespace kda_prefill_detail;
  const KdaPrefillParams& p = *static_cast<const KdaPrefillParams*>(params);
  Scratch& scratch = *static_cast<Scratch*>(host->scratch);
  const i64 states = static_cast<i64>(p.batch) * shape::HV;
  int slices = 1;
  while (slices < min(kKdaPrefillSlices, kPanels) && states * slices < host->workers) slices *= 2;
  for (i64 i = first; i < min(last, states * slices); ++i) {
    const i64 state = i / slices;
    const int slice = static_cast<int>(i % slices);
    run_item(p,
             Item{state / shape::HV, static_cast<int>(state % shape::HV), slice * kPanels / slices,
                  (slice + 1) * kPanels / slices},
             scratch);
  }
}

}  // namespace kiln
