// SPDX-License-Identifier: Apache-2.0
// attention_prefill on the native CPU. A work item is a tile of queries of one sequence, for all
// query heads of one key/value head where these fit: its rows are (query, head) pairs. It goes over
// the keys, a tile at a time, with the online softmax: scores = Q K^T, weights e^(score - maximum),
// out = rescaled out + weights V. Both products are one routine on fp32 copies in the worker's
// scratch, which hold K transposed.
#include "kiln/cpu.h"
#include "attention_prefill/cpu_tiles.h"
#include "attention_prefill/params.h"
#include "kiln/shape.h"
#include "varlen/sequences.h"

namespace kiln {
namespace attention_prefill_detail {

using Io = bf16;
using Params = AttentionPrefillParams;

constexpr int kGroup = shape::Hq / shape::Hkv;
constexpr int kHeads = attention_prefill_cpu_heads(kGroup);      // query heads of an item
constexpr int kQueries = attention_prefill_cpu_queries(kGroup);  // queries of an item
constexpr int kHeadGroups = shape::Hq / kHeads;
constexpr int kRows = kAttentionPrefillCpuRows;
constexpr int kKeys = 64;  // of a tile

// The block of a product that stays in registers: half of these, the rest for its operands.
constexpr int kBlockRows = vector_lanes == 16 ? 8 : 4;
constexpr int kBlockVectors = 2;
constexpr int kBlockColumns = kBlockVectors * vector_lanes;
constexpr int kColumnsVo = ceil_div(shape::D_vo, kBlockColumns) * kBlockColumns;  // rest: zeros
static_assert(kKeys % kBlockColumns == 0 && kRows % kBlockRows == 0 && shape::D_qk % 4 == 0, "");

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

// The fp32 copies of an item, in the worker's scratch; rows of each matrix lie densely.
struct Scratch {
  float q[kRows * shape::D_qk];  // times scale and log2 e
  float out[kRows * kColumnsVo];
  float weights[kRows * kKeys];  // scores at first
  float k[shape::D_qk * kKeys];  // transposed
  float v[kKeys * kColumnsVo];
  float maximum[kRows];  // of the scores so far, times log2 e
  float sum[kRows];      // of the weights so far
  float rescale[kRows];  // what a new maximum makes of what was accumulated
};
static_assert(sizeof(Scratch) <= kKilnCpuScratchBytes, "refused by can_build");

// One item. Tokens are counted within the sequence.
struct Item {
  i64 first_q;  // token of the packed tensors
  i64 first_kv;
  int queries;  // of the sequence
  int keys;
  int first;  // query of the item
  int rows;
  int q_head;  // the first of kHeads
  KILN_DEVICE int query(int row) const { return first + row / kHeads; }
  KILN_DEVICE int head(int row) const { return q_head + row % kHeads; }
  // How many keys a query sees, the first ones.
  KILN_DEVICE int visible(int row) const {
    if constexpr (!shape::causal) return keys;
    // Bottom-right: the last query sees the last key.
    return min(max(query(row) + 1 - queries + keys, 0), keys);
  }
};

KILN_DEVICE const Io* row_of(const Params::Heads& tensor, i64 token, int head) {
  return static_cast<const Io*>(tensor.data) + token * tensor.token_stride +
         head * tensor.head_stride;
}

// `count` elements times `factor`, then zeros up to `padded`.
KILN_DEVICE void convert_row(const Io* from, int count, int padded, float factor, float* to) {
  int i = 0;
  for (; i + vector_lanes <= count; i += vector_lanes)
    store(to + i, load(from + i) * Floats(factor));
  for (; i < count; ++i) to[i] = to_float(from[i]) * factor;
  for (; i < padded; ++i) to[i] = 0.0f;
}

typedef u16 Shorts4 __attribute__((ext_vector_type(4)));
typedef u32 Uints4 __attribute__((ext_vector_type(4)));
KILN_DEVICE Floats4 load4(const Io* from) {
  Shorts4 bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return bit_cast<Floats4>(__builtin_convertvector(bits, Uints4) << 16);
}

// Four keys into columns `column` to column + 3 of the transposed matrix.
KILN_DEVICE void transpose_keys(const Io* const (&keys)[4], int column, float* transposed) {
  for (int d = 0; d < shape::D_qk; d += 4) {
    const Floats4 a = load4(keys[0] + d), b = load4(keys[1] + d);
    const Floats4 c = load4(keys[2] + d), e = load4(keys[3] + d);
    const Floats4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const Floats4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Floats4 ce_low = __builtin_shufflevector(c, e, 0, 4, 1, 5);
    const Floats4 ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
    const Floats4 rows[4] = {__builtin_shufflevector(ab_low, ce_low, 0, 1, 4, 5),
                             __builtin_shufflevector(ab_low, ce_low, 2, 3, 6, 7),
                             __builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5),
                             __builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7)};
    for (int i = 0; i < 4; ++i) {
      __builtin_memcpy(transposed + (d + i) * kKeys + column, &rows[i], sizeof rows[i]);
    }
  }
}

// Keys and values `first` to first + count of the sequence; zeros behind the keys up to kKeys.
KILN_DEVICE void load_keys(const Params& p, const Item& item, int first, int count,
                           Scratch& scratch) {
  alignas(16) static constexpr Io kZeros[shape::D_qk] = {};
  const int kv_head = item.q_head / kGroup;
  for (int key = 0; key < kKeys; key += 4) {
    const Io* keys[4];
    for (int i = 0; i < 4; ++i) {
      const i64 token = item.first_kv + first + key + i;
      keys[i] = key + i < count ? row_of(p.k, token, kv_head) : kZeros;
    }
    transpose_keys(keys, key, scratch.k);
  }
  for (int key = 0; key < count; ++key) {
    convert_row(row_of(p.v, item.first_kv + first + key, kv_head), shape::D_vo, kColumnsVo, 1.0f,
                scratch.v + key * kColumnsVo);
  }
}

KILN_DEVICE void load_queries(const Params& p, const Item& item, Scratch& scratch) {
  for (int row = 0; row < item.rows; ++row) {
    convert_row(row_of(p.q, item.first_q + item.query(row), item.head(row)), shape::D_qk,
                shape::D_qk, p.scale * kLog2E, scratch.q + row * shape::D_qk);
  }
  // Blocks of rows are computed whole.
  const int padded = ceil_div(item.rows, kBlockRows) * kBlockRows;
  for (int i = item.rows * shape::D_qk; i < padded * shape::D_qk; ++i) scratch.q[i] = 0.0f;
  for (int i = 0; i < padded * kColumnsVo; i += vector_lanes) store(scratch.out + i, Floats(0.0f));
  for (int row = 0; row < padded; ++row) {
    scratch.maximum[row] = -__builtin_inff();
    scratch.sum[row] = 0.0f;
  }
}

// One block of c = factors c + a b, where each row of c has a factor; c = a b without factors.
template <int a_stride, int b_stride, int c_stride>
KILN_DEVICE void multiply_block(const float* a, const float* b, int depth, const float* factors,
                                float* c) {
  Floats sums[kBlockRows][kBlockVectors];
#pragma clang loop unroll(full)
  for (int r = 0; r < kBlockRows; ++r) {
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      sums[r][x] = factors == nullptr
                       ? Floats(0.0f)
                       : load(c + r * c_stride + x * vector_lanes) * Floats(factors[r]);
    }
  }
  for (int d = 0; d < depth; ++d) {
    Floats columns[kBlockVectors];
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) columns[x] = load(b + d * b_stride + x * vector_lanes);
#pragma clang loop unroll(full)
    for (int r = 0; r < kBlockRows; ++r) {
      const Floats row(a[r * a_stride + d]);
#pragma clang loop unroll(full)
      for (int x = 0; x < kBlockVectors; ++x) sums[r][x] = fma(row, columns[x], sums[r][x]);
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < kBlockRows; ++r) {
#pragma clang loop unroll(full)
    for (int x = 0; x < kBlockVectors; ++x) {
      store(c + r * c_stride + x * vector_lanes, sums[r][x]);
    }
  }
}

KILN_DEVICE void multiply_keys(int rows, int keys, Scratch& scratch) {
  for (int column = 0; column < keys; column += kBlockColumns) {
    for (int row = 0; row < rows; row += kBlockRows) {
      multiply_block<shape::D_qk, kKeys, kKeys>(scratch.q + row * shape::D_qk, scratch.k + column,
                                                shape::D_qk, nullptr,
                                                scratch.weights + row * kKeys + column);
    }
  }
}

KILN_DEVICE void add_values(int rows, int keys, Scratch& scratch) {
  for (int column = 0; column < kColumnsVo; column += kBlockColumns) {
    for (int row = 0; row < rows; row += kBlockRows) {
      multiply_block<kKeys, kColumnsVo, kColumnsVo>(scratch.weights + row * kKeys,
                                                    scratch.v + column, keys, scratch.rescale + row,
                                                    scratch.out + row * kColumnsVo + column);
    }
  }
}

// The scores of one row, of which the first `visible` count, become weights.
KILN_DEVICE void weigh_row(int row, int visible, Scratch& scratch) {
  float* const scores = scratch.weights + row * kKeys;
  Floats numbers;
  for (int i = 0; i < vector_lanes; ++i) numbers[i] = static_cast<float>(i);
  const Floats nothing(-__builtin_inff());
  Floats most = nothing;
  for (int i = 0; i < kKeys; i += vector_lanes) {
    const Floats counted = numbers + Floats(static_cast<float>(i));
    const Floats score =
        select(counted < Floats(static_cast<float>(visible)), load(scores + i), nothing);
    store(scores + i, score);
    most = select(most < score, score, most);
  }
  const float before = scratch.maximum[row];
  const float maximum = max(before, horizontal_max(most));
  // While a row has seen no key, infinity less infinity would be no number.
  const float reference = maximum == -__builtin_inff() ? 0.0f : maximum;
  Floats sum(0.0f);
  for (int i = 0; i < kKeys; i += vector_lanes) {
    const Floats weight = exp2(load(scores + i) - Floats(reference));
    store(scores + i, weight);
    sum += weight;
  }
  scratch.maximum[row] = maximum;
  scratch.rescale[row] = exp2(before - reference);
  scratch.sum[row] = scratch.sum[row] * scratch.rescale[row] + horizontal_sum(sum);
}

// Scores to weights for every row of the item; a row that sees none of these keys stays as it is.
KILN_DEVICE void weigh(const Item& item, int first_key, int rows, Scratch& scratch) {
  for (int row = 0; row < rows; ++row) {
    const int visible = row < item.rows ? item.visible(row) - first_key : 0;
    if (visible > 0) {
      weigh_row(row, visible, scratch);
      continue;
    }
    scratch.rescale[row] = 1.0f;
    for (int i = 0; i < kKeys; i += vector_lanes) {
      store(scratch.weights + row * kKeys + i, Floats(0.0f));
    }
  }
}

KILN_DEVICE void write_rows(const Params& p, const Item& item, const Scratch& scratch) {
  for (int row = 0; row < item.rows; ++row) {
    const i64 token = item.first_q + item.query(row);
    const int head = item.head(row);
    Io* to = static_cast<Io*>(p.out) + token * p.out_token_stride + head * p.out_head_stride;
    const float* from = scratch.out + row * kColumnsVo;
    const float sum = scratch.sum[row];
    // A row that sees no key has accumulated nothing: zero.
    const float factor = sum == 0.0f ? 0.0f : 1.0f / sum;
    int i = 0;
    for (; i + vector_lanes <= shape::D_vo; i += vector_lanes) {
      store(to + i, load(from + i) * Floats(factor));
    }
    for (; i < shape::D_vo; ++i) to[i] = from_float<Io>(from[i] * factor);
    if (p.lse != nullptr) {
      p.lse[token * p.lse_token_stride + head * p.lse_head_stride] =
          (scratch.maximum[row] + log2(sum)) * kLn2;
    }
  }
}

KILN_DEVICE void run_item(const Params& p, const Item& item, Scratch& scratch) {
  load_queries(p, item, scratch);
  const int rows = ceil_div(item.rows, kBlockRows) * kBlockRows;
  const int keys = item.visible(item.rows - 1);  // the last row sees the most
  for (int first = 0; first < keys; first += kKeys) {
    const int count = min(kKeys, keys - first);
    load_keys(p, item, first, count, scratch);
    multiply_keys(rows, count, scratch);
    weigh(item, first, rows, scratch);
    add_values(rows, count, scratch);
  }
  write_rows(p, item, scratch);
}

}  // namespace attention_prefill_detail

// Items: tiles of queries (varlen/tile_count.h) times groups of heads, these fastest.
KILN_CPU_KERNEL(attention_prefill_cpu, host, params, first, last) {
  using namespace attention_prefill_detail;
  const Params& p = *static_cast<const Params*>(params);
  Scratch& scratch = *static_cast<Scratch*>(host->scratch);
  const HostStarts starts_q{p.cu_seqlens_q};
  for (i64 i = first; i < last; ++i) {
    const SequenceTile tile =
        sequence_tile(starts_q, p.batch, p.total_q, kQueries, i / kHeadGroups);
    const Sequence q = sequence_at(starts_q, tile.n, p.total_q);
    if (tile.first >= q.length) continue;
    const Sequence kv = sequence_at(HostStarts{p.cu_seqlens_kv}, tile.n, p.total_kv);
    const int queries = static_cast<int>(min(q.length - tile.first, i64{kQueries}));
    run_item(p,
             Item{q.first, kv.first, static_cast<int>(q.length), static_cast<int>(kv.length),
                  static_cast<int>(tile.first), queries * kHeads,
                  static_cast<int>(i % kHeadGroups) * kHeads},
             scratch);
  }
}

}  // namespace kiln
