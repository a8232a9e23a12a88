// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/attention_decode.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/reference/elements.h"

namespace kiln::reference {
namespace {

constexpr double kUnit = 0x1p-24;  // half an ulp of fp32 near 1
constexpr double kNothing = -std::numeric_limits<double>::infinity();

// Rows of one head of one sequence, in the order of its tokens: [length, width].
std::vector<double> gather(const AttentionDecodeCall& call, const PagedCache& cache, std::int64_t n,
                           std::int64_t head, std::int64_t width) {
  const std::int64_t length = call.seq_lens[static_cast<std::size_t>(n)];
  const auto* bytes = static_cast<const std::byte*>(cache.data);
  const double scale =
      cache.scales.empty()
          ? 1.0
          : double{cache.scales[static_cast<std::size_t>(n * call.kv_heads + head)]};
  std::vector<double> rows;
  rows.reserve(static_cast<std::size_t>(std::max<std::int64_t>(length, 0) * width));
  for (std::int64_t j = 0; j < length; ++j) {
    const auto entry = static_cast<std::size_t>(n * call.pages_max + j / call.page_size);
    const std::int64_t row = call.block_table[entry] * cache.page_stride +
                             j % call.page_size * cache.slot_stride + head * cache.head_stride;
    for (std::int64_t i = 0; i < width; ++i) {
      rows.push_back(scale * element_of(call.kv, bytes, row + i));
    }
  }
  return rows;
}

struct Row {
  std::int64_t number;
  std::int64_t place;  // of the query token in its sequence
  std::size_t head;
  std::vector<double> query;
  std::span<double> out;        // [d_vo], zeros
  std::span<double> magnitude;  // [d_vo], zeros
  double lse = kNothing;
  double relative_error = 0;
};

// The score of the row's query with key `j`, and the sum of what it is made of.
struct Score {
  double value, terms;
};
Score score_of(const AttentionDecodeCall& call, const Row& row, std::int64_t j, const double* key) {
  double sum = 0, terms = 0;
  for (std::size_t i = 0; i < row.query.size(); ++i) {
    const double term = row.query[i] * key[i];
    sum += term;
    terms += std::abs(term);
  }
  double value = call.scale * sum;
  terms *= std::abs(call.scale);
  if (!call.alibi_slopes.empty()) {
    const double bias = double{call.alibi_slopes[row.head]} * static_cast<double>(j - row.place);
    value += bias;
    terms += std::abs(bias);
  }
  if (call.softcap > 0) {
    value = call.softcap * std::tanh(value / call.softcap);
    terms += 8 * call.softcap / std::sqrt(static_cast<double>(row.query.size()));
  }
  return {value, terms};
}

// The score of no value: the head's and the variant's.
double sink_of(const AttentionDecodeCall& call, const Row& row) {
  const double own = call.sinks.empty() ? kNothing : double{call.sinks[row.head]};
  if (!call.variant.sink) return own;
  return std::log(std::exp(own) + std::exp(call.variant.sink(row.number)));
}

void attend(const AttentionDecodeCall& call, const std::vector<double>& keys,
            const std::vector<double>& values, Row& row) {
  const auto d_qk = static_cast<std::size_t>(call.d_qk);
  const auto d_vo = static_cast<std::size_t>(call.d_vo);
  const std::int64_t begin =
      call.window_left < 0 ? 0 : std::max<std::int64_t>(0, row.place - call.window_left);
  const AttentionDecodeVariant& variant = call.variant;
  std::vector<double> scores;
  double score_terms = 0;
  const double sink = sink_of(call, row);
  double top = sink;
  for (std::int64_t j = begin; j <= row.place; ++j) {
    if (variant.sees && !variant.sees(row.number, j)) {
      scores.push_back(variant.softmax ? kNothing : 0);
      continue;
    }
    const Score score = score_of(call, row, j, keys.data() + static_cast<std::size_t>(j) * d_qk);
    scores.push_back(variant.logit ? variant.logit(row.number, j, score.value) : score.value);
    score_terms = std::max(score_terms, score.terms);
    top = std::max(top, scores.back());
  }
  if (variant.softmax && top == kNothing) return;
  double total = 1;
  if (variant.softmax) {
    total = std::exp(sink - top);
    for (double& score : scores) total += score = std::exp(score - top);
  }
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const double* value = values.data() + (static_cast<std::size_t>(begin) + j) * d_vo;
    for (std::size_t i = 0; i < d_vo; ++i) {
      const double term = scores[j] / total * value[i];
      row.out[i] += term;
      row.magnitude[i] += std::abs(term);
    }
  }
  if (variant.softmax) row.lse = top + std::log(total);
  row.relative_error = 4 * kUnit *
                       (std::sqrt(static_cast<double>(d_qk)) * score_terms +
                        std::sqrt(static_cast<double>(scores.size())));
}

}  // namespace

double AttentionDecodeResult::out_allowed(std::int64_t row, std::int64_t column) const {
  const auto at = static_cast<std::size_t>(row * d_vo + column);
  const double error = 2 * relative_error[static_cast<std::size_t>(row)] + weight_rounding;
  return 2 * half_ulp(io, out[at]) + error * magnitude[at];
}

double AttentionDecodeResult::lse_allowed(std::int64_t row) const {
  const auto at = static_cast<std::size_t>(row);
  const double size = std::isfinite(lse[at]) ? std::abs(lse[at]) : 0;
  return 4 * kUnit * (1 + size) + relative_error[at];
}

AttentionDecodeResult attention_decode(const AttentionDecodeCall& call) {
  const std::int64_t group = call.q_heads / call.kv_heads;
  const std::int64_t rows = call.batch * call.q_tokens * call.q_heads;
  AttentionDecodeResult result;
  result.io = call.io;
  result.d_vo = call.d_vo;
  result.weight_rounding = call.weight_rounding;
  result.out.resize(static_cast<std::size_t>(rows * call.d_vo));
  result.magnitude.resize(result.out.size());
  result.lse.assign(static_cast<std::size_t>(rows), kNothing);
  result.relative_error.resize(result.lse.size());
  const auto width = static_cast<std::size_t>(call.d_vo);
  for (std::int64_t n = 0; n < call.batch; ++n) {
    for (std::int64_t kv_head = 0; kv_head < call.kv_heads; ++kv_head) {
      const std::vector<double> keys = gather(call, call.k, n, kv_head, call.d_qk);
      const std::vector<double> values = gather(call, call.v, n, kv_head, call.d_vo);
      for (std::int64_t i = 0; i < call.q_tokens * group; ++i) {
        const std::int64_t token = i / group, head = kv_head * group + i % group;
        const std::int64_t number = (n * call.q_tokens + token) * call.q_heads + head;
        const auto at = static_cast<std::size_t>(number);
        Row row{number,
                call.seq_lens[static_cast<std::size_t>(n)] - call.q_tokens + token,
                static_cast<std::size_t>(head),
                elements_of(call.io, static_cast<const std::byte*>(call.q), number * call.d_qk,
                            call.d_qk),
                std::span(result.out).subspan(at * width, width),
                std::span(result.magnitude).subspan(at * width, width)};
        attend(call, keys, values, row);
        result.lse[at] = row.lse;
        result.relative_error[at] = row.relative_error;
      }
    }
  }
  return result;
}

}  // namespace kiln::reference
