// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/attention_decode.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/reference/comparison.h"
#include "runtime/reference/trial_tensor.h"

namespace kiln::reference {
namespace {

constexpr double kUnit = 0x1p-24;  // half an ulp of fp32 near 1

// Rows of one head of one sequence, in the order of its tokens: [length, width].
std::vector<double> gather(const AttentionDecodeCall& call, const PagedCache& cache, std::int64_t n,
                           std::int64_t head, std::int64_t width) {
  const std::int64_t length = call.seq_lens[static_cast<std::size_t>(n)];
  std::vector<double> rows;
  rows.reserve(static_cast<std::size_t>(std::max<std::int64_t>(length, 0) * width));
  for (std::int64_t j = 0; j < length; ++j) {
    const auto entry = static_cast<std::size_t>(n * call.pages_max + j / call.page_size);
    const std::uint16_t* row = cache.data + call.block_table[entry] * cache.page_stride +
                               j % call.page_size * cache.slot_stride + head * cache.head_stride;
    for (std::int64_t i = 0; i < width; ++i) rows.push_back(float_of_bf16(row[i]));
  }
  return rows;
}

struct Row {
  std::span<double> out;        // [d_vo], zeros
  std::span<double> magnitude;  // [d_vo], zeros
  double lse = -std::numeric_limits<double>::infinity();
  double relative_error = 0;
};

void attend(const AttentionDecodeCall& call, const std::uint16_t* q,
            const std::vector<double>& keys, const std::vector<double>& values, Row& row) {
  const auto d_qk = static_cast<std::size_t>(call.d_qk);
  const auto d_vo = static_cast<std::size_t>(call.d_vo);
  const std::size_t length = keys.size() / d_qk;
  if (length == 0) return;
  std::vector<double> query(d_qk);
  for (std::size_t i = 0; i < d_qk; ++i) query[i] = float_of_bf16(q[i]);
  std::vector<double> scores(length);
  double score_terms = 0;
  for (std::size_t j = 0; j < length; ++j) {
    double sum = 0, terms = 0;
    for (std::size_t i = 0; i < d_qk; ++i) {
      const double term = query[i] * keys[j * d_qk + i];
      sum += term;
      terms += std::abs(term);
    }
    scores[j] = call.scale * sum;
    score_terms = std::max(score_terms, std::abs(call.scale) * terms);
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - top);
  for (std::size_t j = 0; j < length; ++j) {
    for (std::size_t i = 0; i < d_vo; ++i) {
      const double term = scores[j] / total * values[j * d_vo + i];
      row.out[i] += term;
      row.magnitude[i] += std::abs(term);
    }
  }
  row.lse = top + std::log(total);
  row.relative_error =
      4 * kUnit *
      (std::sqrt(static_cast<double>(d_qk)) * score_terms + std::sqrt(static_cast<double>(length)));
}

}  // namespace

double AttentionDecodeResult::out_allowed(std::int64_t row, std::int64_t column,
                                          std::int64_t d_vo) const {
  const auto at = static_cast<std::size_t>(row * d_vo + column);
  return bf16_ulp(out[at]) + 2 * relative_error[static_cast<std::size_t>(row)] * magnitude[at];
}

double AttentionDecodeResult::lse_allowed(std::int64_t row) const {
  const auto at = static_cast<std::size_t>(row);
  const double size = std::isfinite(lse[at]) ? std::abs(lse[at]) : 0;
  return 4 * kUnit * (1 + size) + relative_error[at];
}

AttentionDecodeResult attention_decode(const AttentionDecodeCall& call) {
  const std::int64_t rows = call.batch * call.q_heads;
  AttentionDecodeResult result;
  result.out.resize(static_cast<std::size_t>(rows * call.d_vo));
  result.magnitude.resize(result.out.size());
  const std::int64_t group = call.q_heads / call.kv_heads;
  for (std::int64_t n = 0; n < call.batch; ++n) {
    for (std::int64_t head = 0; head < call.kv_heads; ++head) {
      const std::vector<double> keys = gather(call, call.k, n, head, call.d_qk);
      const std::vector<double> values = gather(call, call.v, n, head, call.d_vo);
      for (std::int64_t g = 0; g < group; ++g) {
        const std::int64_t number = n * call.q_heads + head * group + g;
        const auto at = static_cast<std::size_t>(number * call.d_vo);
        const auto width = static_cast<std::size_t>(call.d_vo);
        Row row{std::span(result.out).subspan(at, width),
                std::span(result.magnitude).subspan(at, width)};
        attend(call, call.q.data() + number * call.d_qk, keys, values, row);
        result.lse.push_back(row.lse);
        result.relative_error.push_back(row.relative_error);
      }
    }
  }
  return result;
}

}  // namespace kiln::reference
