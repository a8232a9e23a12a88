// SPDX-License-Identifier: Apache-2.0
#include "templates/kernels/attention_decode/splits.h"
#include "templates/ops/attention_decode.h"

namespace kiln {
namespace {

ParamSpec flag(const char* name, const char* doc) {
  return {name, doc, ShapeValue(false), 0, 0, {}};
}

}  // namespace

// Defaults: Llama-3.1-8B on one device. MLA of DeepSeek-V3 and Kimi-Linear in its absorbed form:
// Hkv=1 D_qk=576 D_vo=512 v_in_k=true.
std::vector<ParamSpec> attention_decode_shape_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), 1, max, {}};
  };
  const auto word = [](const char* name, const char* doc, std::vector<std::string> choices) {
    return ParamSpec{name, doc, ShapeValue(choices.front()), 0, 0, choices};
  };
  return {
      integer("Hq", "query heads, a multiple of Hkv", 32, 1024),
      integer("Hkv", "key and value heads", 8, 1024),
      integer("D_qk", "elements of a query or key head", 128, 1024),
      integer("D_vo", "elements of a value or output head", 128, 1024),
      flag("v_in_k",
           "whether values are the first D_vo elements of their keys (MLA's latent cache)"),
      word("io", "type of q and out", {"bf16", "f16", "f32"}),
      word("kv", "type of the key and value cache", {"bf16", "f16", "e4m3", "e5m2"}),
      flag("softcap", "whether scores are capped: c tanh(score / c)"),
      ParamSpec{"variant",
                "what else becomes of the scores",
                ShapeValue(std::string("none")),
                0,
                0,
                {},
                true},
  };
}

std::vector<ParamSpec> attention_decode_call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t min,
                          std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), min, max, {}};
  };
  return {
      integer("batch", "sequences", 8, 0, 1 << 20),
      integer("length", "tokens of each sequence in the cache", 4096, 0, 1 << 24),
      integer("q_tokens", "query tokens of each sequence, the last ones of its tokens", 1, 1, 1024),
      integer("page_size", "tokens of a page", 16, 1, 1 << 16),
      flag("ragged", "whether lengths are random, from 0 to `length`"),
      integer("splits", "parts that each sequence is divided into; 0: chosen by batch and length",
              0, 0, kAttentionDecodeSplitsMax),
      integer("split_tokens", "tokens of each part, a multiple of 64; 0: see splits", 0, 0,
              1 << 24),
      integer("window", "keys before its own that a query token sees; -1: all", -1, -1, 1 << 24),
      flag("csr", "whether pages come as indptr, indices and last page length"),
      flag("hnd", "whether heads lie outside of the tokens of a page"),
      flag("scaled", "whether keys and values have a scale for each sequence and head"),
      flag("alibi", "whether scores get ALiBi's slope"),
      flag("sink", "whether each head has one more score, of no value"),
  };
}

}  // namespace kiln
