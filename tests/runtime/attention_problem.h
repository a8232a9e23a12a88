// SPDX-License-Identifier: Apache-2.0
// A call of attention_decode on the CPU with everything that it reads and writes, its cache laid
// out as a test wishes and NaN or garbage wherever nothing belongs to a sequence.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kiln/attention_decode.h"
#include "runtime/reference/attention_decode.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/trial_tensor.h"

namespace kiln::test {

inline constexpr DLDataType kBf16 = {kDLBfloat, 16, 1};
inline constexpr DLDataType kF32 = {kDLFloat, 32, 1};
inline constexpr DLDataType kI32 = {kDLInt, 32, 1};
inline constexpr std::uint16_t kNan = 0x7fff;
inline constexpr std::int32_t kGarbagePage = 2147480000;

// A tensor over somebody's memory.
struct View {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // empty: compact
  DLTensor dl(void* data, DLDataType type) {
    DLTensor tensor{};
    tensor.data = data;
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int>(shape.size());
    tensor.dtype = type;
    tensor.shape = shape.data();
    tensor.strides = strides.empty() ? nullptr : strides.data();
    return tensor;
  }
};

struct Sizes {
  std::int64_t q_heads = 4, kv_heads = 2, d_qk = 64, d_vo = 64, page_size = 8, pages_max = 6,
               q_tokens = 1;
  bool latent = false;
};
enum class Order { nhd, hnd };
enum class Table { in_order, reversed };
struct Layout {
  Order order = Order::nhd;
  std::int64_t gap = 0;  // elements behind each row
  Table table = Table::in_order;
};
// Its contents depend on `id` and nothing else.
struct Sequence {
  int id;
  int length;
};

// Pages of bf16, NaN where no token was put.
class Cache {
 public:
  Cache(const Sizes& sizes, std::int64_t pages, std::int64_t width, const Layout& layout) {
    const std::int64_t row = width + layout.gap;
    const std::int64_t page = sizes.page_size * sizes.kv_heads * row + layout.gap;
    view_.shape = {pages, sizes.page_size, sizes.kv_heads, width};
    view_.strides = layout.order == Order::nhd
                        ? std::vector<std::int64_t>{page, sizes.kv_heads * row, row, 1}
                        : std::vector<std::int64_t>{page, row, sizes.page_size * row, 1};
    memory_.assign(static_cast<std::size_t>(pages * page), kNan);
  }
  std::uint16_t* row(std::int64_t page, std::int64_t slot, std::int64_t head) {
    return memory_.data() + page * view_.strides[0] + slot * view_.strides[1] +
           head * view_.strides[2];
  }
  DLTensor dl() { return view_.dl(memory_.data(), kBf16); }
  View& view() { return view_; }
  std::vector<std::uint16_t>& memory() { return memory_; }
  reference::PagedCache for_reference() const {
    return {memory_.data(), view_.strides[0], view_.strides[1], view_.strides[2]};
  }

 private:
  View view_;
  std::vector<std::uint16_t> memory_;
};

struct Problem {
  Sizes sizes;
  std::int64_t batch;
  Cache k, v;
  std::vector<std::int32_t> table, lengths;
  std::vector<std::uint16_t> q, out;
  std::vector<float> lse, workspace;
  View q_view, out_view, table_view, lengths_view, lse_view, workspace_view;
  std::vector<float> sinks, slopes;  // empty: none
  View heads_view;
  int splits = 0;
  std::int64_t split_tokens = 0;
  std::int64_t window_left = -1;  // below 0: none
  float scale = 0.2F;

  explicit Problem(const std::vector<Sequence>& sequences, Sizes of = {}, Layout layout = {})
      : sizes(of),
        batch(static_cast<std::int64_t>(sequences.size())),
        k(of, batch * of.pages_max + 1, of.d_qk, layout),
        v(of, batch * of.pages_max + 1, of.d_vo, layout) {
    table.assign(static_cast<std::size_t>(batch * sizes.pages_max), kGarbagePage);
    for (std::int64_t n = 0; n < batch; ++n) {
      const Sequence& sequence = sequences[static_cast<std::size_t>(n)];
      lengths.push_back(sequence.length);
      Random random(static_cast<std::uint64_t>(sequence.id));
      append(q, sizes.q_tokens * sizes.q_heads * sizes.d_qk, random, 4);
      fill_pages(n, sequence.length, random, layout.table);
    }
    out.assign(static_cast<std::size_t>(rows() * sizes.d_vo), kNan);
    lse.assign(static_cast<std::size_t>(rows()), std::nanf(""));
    q_view.shape = {batch, sizes.q_heads, sizes.d_qk};
    out_view.shape = {batch, sizes.q_heads, sizes.d_vo};
    table_view.shape = {batch, sizes.pages_max};
    lengths_view.shape = {batch};
    lse_view.shape = {batch, sizes.q_heads};
    heads_view.shape = {sizes.q_heads};
    if (sizes.q_tokens == 1) return;
    for (View* view : {&q_view, &out_view, &lse_view}) {
      view->shape.insert(view->shape.begin() + 1, sizes.q_tokens);
    }
  }

  std::int64_t rows() const { return batch * sizes.q_tokens * sizes.q_heads; }

  void use_splits(int count) {
    splits = count;
    workspace.assign(static_cast<std::size_t>(rows() * count * (sizes.d_vo + 1)), std::nanf(""));
    workspace_view.shape = {static_cast<std::int64_t>(workspace.size())};
  }

  AttentionDecodeArgs args() {
    AttentionDecodeArgs args{};
    args.q = q_view.dl(q.data(), kBf16);
    args.k_cache = k.dl();
    if (!sizes.latent) args.v_cache = v.dl();
    args.block_table = table_view.dl(table.data(), kI32);
    args.seq_lens = lengths_view.dl(lengths.data(), kI32);
    args.out = out_view.dl(out.data(), kBf16);
    args.lse = lse_view.dl(lse.data(), kF32);
    if (!workspace.empty()) args.workspace = workspace_view.dl(workspace.data(), kF32);
    if (!sinks.empty()) args.sinks = heads_view.dl(sinks.data(), kF32);
    if (!slopes.empty()) args.alibi_slopes = heads_view.dl(slopes.data(), kF32);
    if (window_left >= 0) args.window_left = window_left;
    args.splits = splits;
    args.split_tokens = split_tokens;
    args.scale = scale;
    return args;
  }

 private:
  static void append(std::vector<std::uint16_t>& to, std::int64_t count, Random& random,
                     float magnitude) {
    for (std::int64_t i = 0; i < count; ++i) {
      to.push_back(bf16_of(random.uniform(-magnitude, magnitude)));
    }
  }
  void fill_pages(std::int64_t n, int length, Random& random, Table order) {
    for (int j = 0; j < length; ++j) {
      const std::int64_t number = n * sizes.pages_max + j / sizes.page_size;
      const std::int64_t page =
          order == Table::in_order ? number : batch * sizes.pages_max - number;
      table[static_cast<std::size_t>(number)] = static_cast<std::int32_t>(page);
      for (std::int64_t head = 0; head < sizes.kv_heads; ++head) {
        std::vector<std::uint16_t> row;
        append(row, sizes.d_qk + sizes.d_vo, random, 1);
        std::copy_n(row.begin(), sizes.d_qk, k.row(page, j % sizes.page_size, head));
        std::copy_n(row.begin() + sizes.d_qk, sizes.d_vo, v.row(page, j % sizes.page_size, head));
      }
    }
  }
};

// `weight_rounding`: as AttentionDecodeCall has it.
inline void expect_right(const Problem& problem, double weight_rounding = 0) {
  const Sizes& sizes = problem.sizes;
  const reference::AttentionDecodeCall call{
      .scale = problem.scale,
      .window_left = problem.window_left,
      .batch = problem.batch,
      .q_tokens = sizes.q_tokens,
      .q_heads = sizes.q_heads,
      .kv_heads = sizes.kv_heads,
      .d_qk = sizes.d_qk,
      .d_vo = sizes.d_vo,
      .page_size = sizes.page_size,
      .pages_max = sizes.pages_max,
      .q = problem.q.data(),
      .k = problem.k.for_reference(),
      .v = sizes.latent ? problem.k.for_reference() : problem.v.for_reference(),
      .block_table = problem.table,
      .seq_lens = problem.lengths,
      .sinks = problem.sinks,
      .alibi_slopes = problem.slopes,
      .weight_rounding = weight_rounding};
  const reference::AttentionDecodeResult expected = reference::attention_decode(call);
  Comparison out("out", ""), lse("lse", "");
  for (std::int64_t row = 0; row < problem.rows(); ++row) {
    const auto at = static_cast<std::size_t>(row);
    lse.add(problem.lse[at], expected.lse[at], expected.lse_allowed(row));
    for (std::int64_t i = 0; i < sizes.d_vo; ++i) {
      const auto element = static_cast<std::size_t>(row * sizes.d_vo + i);
      out.add(float_of_bf16(problem.out[element]), expected.out[element],
              expected.out_allowed(row, i));
    }
  }
  EXPECT_TRUE(out.result().passed()) << out.result().abs_max << ", " << out.result().bound_ratio;
  EXPECT_TRUE(lse.result().passed()) << lse.result().abs_max << ", " << lse.result().bound_ratio;
}

}  // namespace kiln::test
