// SPDX-License-Identifier: Apache-2.0
// A call of kda_decode for tests: tensors that may lie anywhere, the fp64 result of the rounded
// inputs, and the bounds that a result has to keep.
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "kiln/kda_decode.h"
#include "kiln/simt.h"
#include "runtime/reference/kda_decode.h"
#include "runtime/reference/sequence_lengths.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln::test {

struct KdaShapeOf {
  std::int64_t heads = 1, value_heads = 2, k = 64, v = 64;
  ElementType io = ElementType::bf16, gate_io = ElementType::bf16, state = ElementType::f32;
  KdaGate gate = KdaGate::softplus;
  KdaBeta beta = KdaBeta::logit;
  KdaLayout layout = KdaLayout::VK;
  bool qk_l2norm = true;
};

// How tokens are laid out: [N], [N, T], or with cu_seqlens.
enum class Tokens { one, dense, varlen };

class Integers {
 public:
  template <class T>
  Integers(std::vector<T> values, std::vector<std::int64_t> shape) : shape_(std::move(shape)) {
    bytes_.resize(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(bytes_.data(), values.data(), bytes_.size());
    bits_ = 8 * sizeof(T);
  }
  DLTensor dl() {
    DLTensor tensor{};
    tensor.data = bytes_.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int>(shape_.size());
    tensor.dtype = {kDLInt, static_cast<std::uint8_t>(bits_), 1};
    tensor.shape = shape_.data();
    return tensor;
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
  std::vector<std::int64_t> shape_;
  std::size_t bits_ = 32;
};

struct KdaProblem {
  using Index = StridedTensor::Index;

  KdaShapeOf shape;
  Tokens tokens;
  std::vector<std::int64_t> lengths;  // of each sequence
  std::vector<std::int32_t> starts;   // the first token of each, as if packed
  std::int64_t pool;
  std::vector<std::int64_t> slots;  // [N, columns]
  std::int64_t columns = 1;
  bool wide_slots = false;
  std::vector<std::int32_t> accepted;              // or empty
  std::vector<std::int64_t> intermediate_slots{};  // or empty
  std::int64_t tokens_max = 0;
  StridedTensor q, k, v, a, b, a_log, dt_bias, state, out;
  std::optional<StridedTensor> intermediate;
  // What the call leaves to its own defaults, unless a test changes it.
  KdaDecodeArgs numbers{};

  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
  bool vk() const { return shape.layout == KdaLayout::VK; }
  bool scalar() const { return shape.gate == KdaGate::scalar; }

  static Index rows_of(Tokens tokens, const std::vector<std::int64_t>& lengths, Index inner) {
    const auto n = static_cast<std::int64_t>(lengths.size());
    Index rows = tokens == Tokens::dense ? Index{n, n == 0 ? 1 : lengths[0]}
                 : tokens == Tokens::one ? Index{n}
                                         : Index{starts_of(lengths).back()};
    rows.insert(rows.end(), inner.begin(), inner.end());
    return rows;
  }
  static Index matrices_of(const KdaShapeOf& shape, Index outer) {
    const bool vk = shape.layout == KdaLayout::VK;
    outer.insert(outer.end(), {shape.value_heads, vk ? shape.v : shape.k, vk ? shape.k : shape.v});
    return outer;
  }
  Index gates(Index outer) const {
    outer.push_back(shape.value_heads);
    if (!scalar()) outer.push_back(shape.k);
    return outer;
  }

  KdaProblem(KdaShapeOf of, Tokens how, std::vector<std::int64_t> token_counts,
             std::int64_t pool_slots, std::uint64_t seed = 1)
      : shape(of),
        tokens(how),
        lengths(std::move(token_counts)),
        starts(starts_of(lengths)),
        pool(pool_slots),
        q(of.io, rows_of(how, lengths, {of.heads, of.k})),
        k(of.io, rows_of(how, lengths, {of.heads, of.k})),
        v(of.io, rows_of(how, lengths, {of.value_heads, of.v})),
        a(of.gate_io, rows_of(how, lengths,
                              of.gate == KdaGate::scalar ? Index{of.value_heads}
                                                         : Index{of.value_heads, of.k})),
        b(of.gate_io, rows_of(how, lengths, {of.value_heads})),
        a_log(ElementType::f32, {of.value_heads}),
        dt_bias(ElementType::f32,
                of.gate == KdaGate::scalar ? Index{of.value_heads} : Index{of.value_heads, of.k}),
        state(of.state, matrices_of(of, {pool_slots})),
        out(of.io, rows_of(how, lengths, {of.value_heads, of.v})) {
    for (const std::int64_t length : lengths) tokens_max = std::max(tokens_max, length);
    // From the pool's last slot down.
    for (std::int64_t n = 0; n < batch(); ++n) slots.push_back(pool - 1 - n);
    fill(seed);
  }

  void fill(std::uint64_t seed) {
    Random random(seed);
    const auto uniform = [&random](float low, float high) {
      return [&random, low, high] { return random.uniform(low, high); };
    };
    const float qk = shape.qk_l2norm ? 1.0F : 1.7F / std::sqrt(static_cast<float>(shape.k));
    q.fill(uniform(-qk, qk));
    k.fill(uniform(-qk, qk));
    v.fill(uniform(-1, 1));
    a.fill(shape.gate == KdaGate::precomputed ? uniform(-5, 0) : uniform(-4, 4));
    b.fill(shape.beta == KdaBeta::given ? uniform(0, 1) : uniform(-3, 3));
    a_log.fill(uniform(0, 2.7F));
    dt_bias.fill(uniform(-4, 1));
    state.fill(uniform(-0.5F, 0.5F));
  }

  template <class Change>
  Result<void> call(Runtime& runtime, const CallOptions& options, Change change) {
    const auto integers = [&](const std::vector<std::int64_t>& values, Index extents) {
      return wide_slots
                 ? Integers(values, extents)
                 : Integers(std::vector<std::int32_t>(values.begin(), values.end()), extents);
    };
    Integers slot_tensor = integers(slots, columns > 1 ? Index{batch(), columns} : Index{batch()});
    Integers starts_tensor(starts, {batch() + 1});
    Integers accepted_tensor(accepted, {batch()});
    Integers intermediate_tensor = integers(intermediate_slots, {batch()});
    KdaDecodeArgs args = numbers;
    args.q = q.dl();
    args.k = k.dl();
    args.v = v.dl();
    args.a = a.dl();
    args.b = b.dl();
    if (shape.gate != KdaGate::precomputed) {
      args.A_log = a_log.dl();
      args.dt_bias = dt_bias.dl();
    }
    args.state = state.dl();
    args.slots = slot_tensor.dl();
    args.out = out.dl();
    args.gate = shape.gate;
    args.beta = shape.beta;
    args.layout = shape.layout;
    args.qk_l2norm = shape.qk_l2norm;
    if (tokens == Tokens::varlen) {
      args.cu_seqlens = starts_tensor.dl();
      args.tokens_max = tokens_max;
    }
    if (!accepted.empty()) args.accepted = accepted_tensor.dl();
    if (intermediate) {
      args.intermediate = intermediate->dl();
      args.intermediate_slots = intermediate_tensor.dl();
    }
    change(args);
    return kda_decode(runtime, args, options);
  }

  // Row-major index of a token of a sequence among all tokens, where they are packed or dense.
  std::int64_t token(std::int64_t n, std::int64_t t) const {
    return starts[static_cast<std::size_t>(n)] + t;
  }
  bool in_pool(std::int64_t slot) const { return slot >= 0 && slot < pool; }
  std::int64_t first_slot(std::int64_t n) const {
    std::int64_t column = 0;
    if (!accepted.empty()) {
      column = std::clamp<std::int64_t>(accepted[static_cast<std::size_t>(n)], 1, columns) - 1;
    }
    return slots[static_cast<std::size_t>(n * columns + column)];
  }
};

// States by slot and value head, V x K whatever the layout: what a call should leave behind.
struct KdaExpected {
  std::vector<double> out;                                   // row-major, as `out`
  std::map<std::int64_t, std::vector<double>> states;        // slot * HV + hv
  std::map<std::int64_t, std::vector<double>> intermediate;  // (slot * T' + t) * HV + hv
};

inline reference::KdaDecodeSettings settings_of(const KdaProblem& p) {
  reference::KdaDecodeSettings settings;
  const KdaDecodeArgs& args = p.numbers;
  settings.scale = args.scale.value_or(1 / std::sqrt(static_cast<float>(p.shape.k)));
  settings.qk_l2norm = p.shape.qk_l2norm;
  settings.l2norm_eps = args.l2norm_eps;
  settings.softplus_beta = args.softplus_beta;
  settings.softplus_threshold = args.softplus_threshold;
  settings.gate = p.shape.gate;
  settings.beta = p.shape.beta;
  settings.lower_bound = args.lower_bound;
  return settings;
}

inline std::vector<double> part(const std::vector<double>& all, std::int64_t row,
                                std::int64_t size) {
  return {all.begin() + row * size, all.begin() + (row + 1) * size};
}

// Matrix number `i` of states as they lie in memory, as V x K.
inline std::vector<double> matrix_of(const KdaProblem& p, const std::vector<double>& stored,
                                     std::int64_t i) {
  const std::vector<double> raw = part(stored, i, p.shape.k * p.shape.v);
  if (p.vk()) return raw;
  std::vector<double> matrix(raw.size());
  for (std::int64_t row = 0; row < p.shape.v; ++row) {
    for (std::int64_t j = 0; j < p.shape.k; ++j) {
      matrix[static_cast<std::size_t>(row * p.shape.k + j)] =
          raw[static_cast<std::size_t>(j * p.shape.v + row)];
    }
  }
  return matrix;
}

// The fp64 result of the problem as it stands, before the call.
KdaExpected expected_of(const KdaProblem& p);

// Checks everything that a call wrote against `expected`, and that nothing else changed.
// `before`: the problem before the call.
void expect_right(const KdaProblem& p, const KdaProblem& before, const KdaExpected& expected);

// expected_of, the call, expect_right.
void call_and_check(KdaProblem& p, Runtime& runtime, const CallOptions& options);

}  // namespace kiln::test
