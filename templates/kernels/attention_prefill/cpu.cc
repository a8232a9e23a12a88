// SPDX-License-Identifier: Apache-2.0
// attention_prefill on the native CPU. A work item is a tile of queries of one sequence, for all
// query heads of one key/value head where these fit: its rows are (query, head) pairs. It goes over
// the keys, a tile at a time, with the online softmax: scores = Q K^T, weights e^(score - maximum),
// out = rescaled out + weights V. Both products are one routine on fp32 copies in the worker's
// scratch, which hold K transposed.
#include "kiln/cpu.h"
#include "attention_prefill/cpu_tiles.h"
#include "attention_prefill/geometry.h"
#include "kiln/storage_type.h"

namespace kiln {
namespace attention_prefill_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;

constexpr int kHeads = attention_prefill_cpu_heads(kGroup);      // query heads of an item
constexpr int kQueries = attention_prefill_cpu_queries(kGroup);  // queries of an item
constexpr int kHeadGroups = shape::Hq / kHeads;
constexpr int kRows = kAttentionPrefillCpuRows;
constexpr int kKeys = 64;                             // of a tile
constexpr int kDepth = ceil_div(shape::D_qk, 4) * 4;  // rest: zeros

// The block of a product that stays in registers: half of these, the rest for its operands.
constexpr int kBlockRows = vector_lanes == 16 ? 8 : 4;
constexpr int kBlockVectors = 2;
constexpr int kBlockColumns = kBlockVectors * vector_lanes;
constexpr int kColumnsVo = ceil_div(shape::D_vo, kBlockColumns) * kBlockColumns;  // rest: zeros
static_assert(kKeys % kBlockColumns == 0 && kRows % kBlockRows == 0, "");

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

// The fp32 copies of an item, in the worker's scratch; rows of each matrix lie densely.
struct Scratch {
  float q[kRows * kDepth];  // times what makes scores of products
  float out[kRows * kColumnsVo];
  float weights[kRows * kKeys];  // scores at first
  float k[kDepth * kKeys];       // transposed
  float v[kKeys * kColumnsVo];
  float maximum[kRows];  // of the scores so far, times log2 e
  float sum[kRows];      // of the weights so far
  float rescale[kRows];  // what a new maximum makes of what was accumulated
};
static_assert(sizeof(Scratch) <= kKilnCpuScratchBytes, "refused by can_build");

// One item: rows of a sequence.
struct Item {
  Job job;
  int first;  // query of the item
  int rows;
  int q_head;  // the first of kHeads
  bool rules;  // has_rules()
  KILN_DEVICE int query(int row) const { return first + row / kHeads; }
  KILN_DEVICE int head(int row) const { return q_head + row % kHeads; }
  // By which scores are kept: softmax wants them times log2 e, rules as they are.
  KILN_DEVICE float factor() const { return rules ? 1.0f : kLog2E; }
};

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
KILN_DEVICE Floats4 load4(const bf16* from) {
  Shorts4 bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return bit_cast<Floats4>(__builtin_convertvector(bits, Uints4) << 16);
}
KILN_DEVICE Floats4 load4(const f16* from) {
  return {to_float(from[0]), to_float(from[1]), to_float(from[2]), to_float(from[3])};
}
// The last elements of a row that does not end at a multiple of four.
KILN_DEVICE Floats4 load_rest(const Io* from) {
  Floats4 values = {};
  for (int i = 0; i < shape::D_qk % 4; ++i) values[i] = to_float(from[i]);
  return values;
}

// Four keys into columns `column` to column + 3 of the transposed matrix.
KILN_DEVICE void transpose_keys(const Io* const (&keys)[4], int column, float* transposed) {
  for (int d = 0; d < kDepth; d += 4) {
    const auto part = [&](int i) {
      return d + 4 <= shape::D_qk ? load4(keys[i] + d) : load_rest(keys[i] + d);
    };
    const Floats4 a = part(0), b = part(1), c = part(2), e = part(3);
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

alignas(16) constexpr Io kZeros[shape::D_qk > shape::D_vo ? shape::D_qk : shape::D_vo] = {};

// Keys and values `first` to first + count of the sequence; zeros behind the keys up to kKeys.
KILN_DEVICE void load_keys(const Params& p, const Item& item, int first, int count,
                           Scratch& scratch) {
  const int kv_head = item.q_head / kGroup;
  const auto row_of = [&](const Params::Heads& tensor, int key) {
    if (key >= count) return static_cast<const Io*>(kZeros);
    const KeyPlace place = find_key<HostMemory>(p, item.job, first + key);
    if (place.block < 0) return static_cast<const Io*>(kZeros);
    return static_cast<const Io*>(tensor.data) + offset_of(tensor, place, kv_head);
  };
  for (int key = 0; key < kKeys; key += 4) {
    transpose_keys(
        {row_of(p.k, key), row_of(p.k, key + 1), row_of(p.k, key + 2), row_of(p.k, key + 3)}, key,
        scratch.k);
  }
  for (int key = 0; key < count; ++key) {
    convert_row(row_of(p.v, key), shape::D_vo, kColumnsVo, 1.0f, scratch.v + key * kColumnsVo);
  }
}

KILN_DEVICE void load_queries(const Params& p, const Item& item, Scratch& scratch) {
  // Blocks of rows are computed whole.
  const int padded = ceil_div(item.rows, kBlockRows) * kBlockRows;
  for (int row = 0; row < item.rows; ++row) {
    const Io* const from = static_cast<const Io*>(p.q.data) +
                           row_offset(p.q, item.job, item.query(row), item.head(row));
    convert_row(from, shape::D_qk, kDepth, p.scale * item.factor(), scratch.q + row * kDepth);
  }
  for (int i = item.rows * kDepth; i < padded * kDepth; ++i) scratch.q[i] = 0.0f;
  for (int i = 0; i < padded * kColumnsVo; i += vector_lanes) store(scratch.out + i, Floats(0.0f));
  for (int row = 0; row < padded; ++row) {
    float logit = -__builtin_inff();
    if (variant::softmax && row < item.rows) {
      logit = first_logit<HostMemory>(p, item.job, item.query(row), item.head(row));
    }
    scratch.maximum[row] = logit * kLog2E;
    scratch.sum[row] = logit == -__builtin_inff() ? 0.0f : 1.0f;
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
      multiply_block<kDepth, kKeys, kKeys>(scratch.q + row * kDepth, scratch.k + column, kDepth,
                                           nullptr, scratch.weights + row * kKeys + column);
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

KILN_DEVICE Floats lane_numbers() {
  Floats numbers;
  for (int i = 0; i < vector_lanes; ++i) numbers[i] = static_cast<float>(i);
  return numbers;
}

// The scores of a row under the rules, times log2 e with softmax; -infinity, or 0 without, where a
// key of the tile is not in `range` (of the tile) or not seen for another reason.
KILN_DEVICE void apply_rules_to_row(const Params& p, const Item& item, int row, int first_key,
                                    const KeyRange& range, float* scores) {
  const int i = item.query(row);
  const int head = item.head(row);
  for (int key = 0; key < kKeys; ++key) {
    float score = scores[key];
    const bool seen = range.first <= key && key < range.end &&
                      apply_rules<HostMemory>(p, item.job, i, first_key + key, head, score);
    const float logit = variant::softmax ? score * kLog2E : score;
    scores[key] = seen ? logit : variant::softmax ? -__builtin_inff() : 0.0f;
  }
}

// The scores of one row, of which those in `range` count, become weights.
KILN_DEVICE void weigh_row(int row, const KeyRange& range, Scratch& scratch) {
  float* const scores = scratch.weights + row * kKeys;
  const Floats numbers = lane_numbers();
  const Floats nothing(-__builtin_inff());
  const Floats first(static_cast<float>(range.first)), end(static_cast<float>(range.end));
  Floats most = nothing;
  for (int i = 0; i < kKeys; i += vector_lanes) {
    const Floats counted = numbers + Floats(static_cast<float>(i));
    const Floats before_end = select(counted < end, load(scores + i), nothing);
    const Floats score = select(counted < first, nothing, before_end);
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
KILN_DEVICE void weigh(const Params& p, const Item& item, int first_key, int rows,
                       Scratch& scratch) {
  for (int row = 0; row < rows; ++row) {
    float* const scores = scratch.weights + row * kKeys;
    KeyRange range = {0, 0};
    if (row < item.rows) {
      range = item.job.visible(p, item.query(row));
      range = {max(range.first - first_key, 0), min(range.end - first_key, kKeys)};
    }
    if (range.first >= range.end) {
      scratch.rescale[row] = 1.0f;
      for (int i = 0; i < kKeys; i += vector_lanes) store(scores + i, Floats(0.0f));
      continue;
    }
    if (item.rules) apply_rules_to_row(p, item, row, first_key, range, scores);
    if constexpr (variant::softmax) {
      weigh_row(row, range, scratch);
    } else {
      scratch.rescale[row] = 1.0f;
    }
  }
}

KILN_DEVICE void write_rows(const Params& p, const Item& item, const Scratch& scratch) {
  for (int row = 0; row < item.rows; ++row) {
    const int query = item.query(row);
    const int head = item.head(row);
    Io* to =
        static_cast<Io*>(const_cast<void*>(p.out.data)) + row_offset(p.out, item.job, query, head);
    const float* from = scratch.out + row * kColumnsVo;
    const float sum = scratch.sum[row];
    // A row that sees no key has accumulated nothing: zero.
    const float factor = !variant::softmax ? 1.0f : sum == 0.0f ? 0.0f : 1.0f / sum;
    int i = 0;
    for (; i + vector_lanes <= shape::D_vo; i += vector_lanes) {
      store(to + i, load(from + i) * Floats(factor));
    }
    for (; i < shape::D_vo; ++i) to[i] = from_float<Io>(from[i] * factor);
    if (variant::softmax && p.lse.data != nullptr) {
      static_cast<float*>(const_cast<void*>(p.lse.data))[row_offset(p.lse, item.job, query, head)] =
          (scratch.maximum[row] + log2(sum)) * kLn2;
    }
  }
}

KILN_DEVICE void run_item(const Params& p, const Item& item, Scratch& scratch) {
  load_queries(p, item, scratch);
  const int rows = ceil_div(item.rows, kBlockRows) * kBlockRows;
  const KeyRange keys = item.job.visible(p, item.first, item.query(item.rows - 1));
  for (int first = keys.first; first < keys.end; first += kKeys) {
    const int count = min(kKeys, keys.end - first);
    load_keys(p, item, first, count, scratch);
    multiply_keys(rows, count, scratch);
    weigh(p, item, first, rows, scratch);
    add_values(rows, count, scratch);
  }
  write_rows(p, item, scratch);
}

}  // namespace attention_prefill_detail

// Items: tiles of queries by number times groups of heads, these fastest.
KILN_CPU_KERNEL(attention_prefill_cpu, host, params, first, last) {
  using namespace attention_prefill_detail;
  const Params& p = *static_cast<const Params*>(params);
  Scratch& scratch = *static_cast<Scratch*>(host->scratch);
  for (i64 i = first; i < last; ++i) {
    const Tile tile = find_tile<HostMemory>(p, kQueries, i / kHeadGroups);
    const Job job = find_job<HostMemory>(p, tile.n);
    if (tile.first >= job.queries) continue;
    const int queries = min(job.queries - tile.first, kQueries);
    run_item(p,
             Item{job, tile.first, queries * kHeads, static_cast<int>(i % kHeadGroups) * kHeads,
                  has_rules(p)},
             scratch);
  }
}

}  // namespace kiln
