// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm on the native CPU. A work item is a few rows, both sides. A vector is read twice, the
// second time from the first-level cache; large outputs go past the caches, which saves reading
// them first.
#include "kiln/cpu.h"
#include "kiln/fp8_round.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"
#include "qk_rmsnorm/cpu_rows.h"
#include "qk_rmsnorm/params.h"

namespace kiln {
namespace qk_rmsnorm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Weight = StorageType<shape::weights_is::bf16, shape::weights_is::f16>;
using Table = StorageType<shape::rope_table_is::bf16, shape::rope_table_is::f16>;

constexpr bool kRotates = !shape::rope_is::none;
constexpr int kHalf = shape::rotary / 2;
// Pairs of vectors under way at once, to cover the latency of an addition.
constexpr int kPairs = 2;
constexpr int kPairLanes = 2 * vector_lanes;
constexpr int kLineBytes = 64;
constexpr int kSizeMax = shape::Nq > shape::Nk ? shape::Nq : shape::Nk;

// What a worker keeps of a vector before it is stored.
struct Scratch {
  alignas(kLineBytes) Io row[kSizeMax];
  alignas(kLineBytes) float values[kSizeMax];
};
static_assert(sizeof(Scratch) <= kKilnCpuScratchBytes, "the host lends that much");

template <int n>
KILN_DEVICE float sum_of_squares(const Io* x) {
  constexpr int kStep = kPairs * kPairLanes;
  constexpr int kStepped = n / kStep * kStep;
  constexpr int kWhole = n / vector_lanes * vector_lanes;
  FloatsPair sums[kPairs] = {};
  for (int i = 0; i < kStepped; i += kStep) {
    for (int c = 0; c < kPairs; ++c) {
      const FloatsPair v = load_pair<Io>(x + i + c * kPairLanes);
      sums[c].one = fma(v.one, v.one, sums[c].one);
      sums[c].two = fma(v.two, v.two, sums[c].two);
    }
  }
  Floats total = (sums[0].one + sums[0].two) + (sums[1].one + sums[1].two);
  for (int i = kStepped; i < kWhole; i += vector_lanes) {
    const Floats v = load(x + i);
    total = fma(v, v, total);
  }
  float sum = horizontal_sum(total);
  for (int i = kWhole; i < n; ++i) sum = fma(to_float(x[i]), to_float(x[i]), sum);
  return sum;
}

// The norm of a vector to `out`, an array of Io or of floats. `next` is what will be read after it.
template <int n, class Out>
KILN_DEVICE void norm_vector(const Io* in, Out* out, const Weight* weight, float eps,
                             const Io* next) {
  const float factor = rsqrt(divide(sum_of_squares<n>(in), static_cast<float>(n)) + eps);
  constexpr float kBias = shape::weight_bias ? 1.0f : 0.0f;
  constexpr int kStep = kPairs * kPairLanes;
  constexpr int kStepped = n / kStep * kStep;
  constexpr int kWhole = n / vector_lanes * vector_lanes;
  for (int i = 0; i < kStepped; i += kStep) {
    FloatsPair normed[kPairs];
    for (int c = 0; c < kPairs; ++c) {
      const int at = i + c * kPairLanes;
      prefetch(next + at);
      const FloatsPair x = load_pair<Io>(in + at), w = load_pair<Io>(weight + at);
      normed[c] = {x.one * Floats(factor) * (w.one + Floats(kBias)),
                   x.two * Floats(factor) * (w.two + Floats(kBias))};
    }
    store_pairs<Io, Out, kPairs>({out + i, out + i + kPairLanes}, normed);
  }
  for (int i = kStepped; i < kWhole; i += vector_lanes) {
    prefetch(next + i);
    store(out + i, load(in + i) * Floats(factor) * (load(weight + i) + Floats(kBias)));
  }
  for (int i = kWhole; i < n; ++i) {
    out[i] = from_float<Out>(to_float(in[i]) * factor * (to_float(weight[i]) + kBias));
  }
}

// Past the caches, in whole lines; what lies before and after them as usual.
KILN_DEVICE void copy_streaming(Io* to, const Io* from, int count) {
  typedef u32 Line __attribute__((ext_vector_type(16)));
  const int before = static_cast<int>(-reinterpret_cast<u64>(to) % kLineBytes / sizeof(Io));
  constexpr int kPerLine = kLineBytes / sizeof(Io);
  int i = 0;
  for (; i < before && i < count; ++i) to[i] = from[i];
  for (; i + kPerLine <= count; i += kPerLine) {
    Line line;
    __builtin_memcpy(&line, from + i, sizeof line);
    __builtin_nontemporal_store(line, reinterpret_cast<Line*>(to + i));
  }
  for (; i < count; ++i) to[i] = from[i];
}

// Which row of the tables a row of q and k takes; below 0 where there is none.
KILN_DEVICE i64 table_row(const QkRmsnormParams& p, i64 row) {
  const i64 at = row * p.rope.positions_stride;
  const i64 position = p.rope.wide_positions != 0 ? static_cast<const i64*>(p.rope.positions)[at]
                                                  : static_cast<const i32*>(p.rope.positions)[at];
  return position < p.rope.table_rows ? position : -1;
}

KILN_DEVICE void rotate(const QkRmsnormParams& p, i64 table_row, float* x) {
  const Table* cos = static_cast<const Table*>(p.rope.cos) + table_row * p.rope.cos_row_stride;
  const Table* sin = static_cast<const Table*>(p.rope.sin) + table_row * p.rope.sin_row_stride;
  int i = 0;
  if constexpr (shape::rope_is::neox) {
    for (; i + vector_lanes <= kHalf; i += vector_lanes) {
      const Floats c = load(cos + i), s = load(sin + i);
      const Floats low = load(x + i), high = load(x + kHalf + i);
      store(x + i, low * c - high * s);
      store(x + kHalf + i, high * c + low * s);
    }
  }
  for (; i < kHalf; ++i) {
    const float c = to_float(cos[i]), s = to_float(sin[i]);
    float& low = shape::rope_is::neox ? x[i] : x[2 * i];
    float& high = shape::rope_is::neox ? x[kHalf + i] : x[2 * i + 1];
    const float from_low = low;
    low = from_low * c - high * s;
    high = high * c + from_low * s;
  }
}

template <int n>
KILN_DEVICE void store_values(const float* values, Io* out) {
  constexpr int kWhole = n / vector_lanes * vector_lanes;
  for (int i = 0; i < kWhole; i += vector_lanes) store(out + i, load(values + i));
  for (int i = kWhole; i < n; ++i) out[i] = from_float<Io>(values[i]);
}

// A scale and quantised elements for each group of q.
template <int group>
KILN_DEVICE void quantise(const float* values, u8* out, float* scales, i64 scale_stride) {
  typedef u8 Bytes __attribute__((ext_vector_type(vector_lanes)));
  constexpr int kWhole = group / vector_lanes * vector_lanes;
  for (int first = 0; first < shape::Nq; first += group, scales += scale_stride) {
    const float* x = values + first;
    Floats largest = 0.0f;
    for (int i = 0; i < kWhole; i += vector_lanes) {
      const Floats size = abs(load(x + i));
      largest = select(largest < size, size, largest);
    }
    float amax = horizontal_max(largest);
    for (int i = kWhole; i < group; ++i) amax = max(amax, abs(x[i]));
    const float scale = divide(max(amax, kQkRmsnormAmaxMin), kE4m3Max);
    *scales = scale;
    for (int i = 0; i < kWhole; i += vector_lanes) {
      const Bytes bytes =
          __builtin_convertvector(e4m3_bits(divide(load(x + i), Floats(scale))), Bytes);
      __builtin_memcpy(out + first + i, &bytes, sizeof bytes);
    }
    for (int i = kWhole; i < group; ++i) {
      out[first + i] = static_cast<u8>(e4m3_bits(divide(x[i], scale)));
    }
  }
}

// How a call's rows are to be done, told once.
struct Manner {
  bool stream;  // past the caches
};

template <int n, bool quantised>
KILN_DEVICE void norm_row(const QkRmsnormParams& p, const QkRmsnormParams::Side& side, i64 row,
                          Manner manner, Scratch& scratch) {
  const Io* in = static_cast<const Io*>(side.in) + row * side.in_row_stride;
  const Weight* weight = static_cast<const Weight*>(side.weight);
  const i64 rotation = kRotates ? table_row(p, row) : 0;
  for (int head = 0; head < side.heads; ++head) {
    const Io* from = in + head * side.in_head_stride;
    const Io* next = head + 1 < side.heads ? from + side.in_head_stride : in + side.in_row_stride;
    const i64 to = row * side.out_row_stride + head * side.out_head_stride;
    Io* out = static_cast<Io*>(side.out) + to;
    if constexpr (!kRotates && !quantised) {
      if (manner.stream) {
        norm_vector<n>(from, scratch.row, weight, side.eps, next);
        copy_streaming(out, scratch.row, n);
      } else {
        norm_vector<n>(from, out, weight, side.eps, next);
      }
    } else {
      norm_vector<n>(from, scratch.values, weight, side.eps, next);
      if constexpr (kRotates) {
        if (rotation >= 0) {
          rotate(p, rotation, scratch.values);
        } else {
          __builtin_memset(scratch.values, 0, sizeof(float) * n);
        }
      }
      if constexpr (quantised) {
        quantise<(shape::q_group > 0 ? shape::q_group : n)>(
            scratch.values, static_cast<u8*>(side.out) + to,
            p.scales.data + row * p.scales.row_stride + head * p.scales.head_stride,
            p.scales.group_stride);
      } else {
        store_values<n>(scratch.values, out);
      }
    }
  }
}

}  // namespace qk_rmsnorm_detail

KILN_CPU_KERNEL(qk_rmsnorm_cpu, host, params, first, last) {
  using namespace qk_rmsnorm_detail;
  const QkRmsnormParams& p = *static_cast<const QkRmsnormParams*>(params);
  Scratch& scratch = *static_cast<Scratch*>(host->scratch);
  const i64 row_elements =
      static_cast<i64>(p.q.heads) * shape::Nq + static_cast<i64>(p.k.heads) * shape::Nk;
  const bool large = row_elements * p.rows * i64{sizeof(Io)} >= kQkRmsnormStreamBytes;
  const Manner of_q{large && p.q.in != p.q.out};
  const Manner of_k{large && p.k.in != p.k.out};
  const i64 item_rows = qk_rmsnorm_cpu_rows(row_elements);
  const i64 end = min(last * item_rows, static_cast<i64>(p.rows));
  for (i64 row = first * item_rows; row < end; ++row) {
    norm_row<shape::Nq, (shape::q_group > 0)>(p, p.q, row, of_q, scratch);
    norm_row<shape::Nk, false>(p, p.k, row, of_k, scratch);
  }
  if (large) __builtin_ia32_sfence();
}

}  // namespace kiln
