// SPDX-License-Identifier: Apache-2.0
// Attention variants: a logits transform, a mask or a sink of the caller's own, as C++ expressions
// with named tensors and scalars. A variant is part of the shape (parameter `variant`, its text by
// digest) and of the source that is compiled, so it has kernels of its own on every target.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/compile_input.h"
#include "jit/base/export.h"

namespace kiln {

// For a query and a key that see each other, with the scaled and soft-capped q.k as `logit`:
//
//   logits  float expression: the logit that counts; empty: `logit`
//   mask    bool expression: whether the query sees the key; empty: true. Asked after causal,
//           window and bit mask, and before `logits`; knows no `logit`.
//   sink    float expression: a logit that joins the sum of a row's softmax and has no value;
//           empty: none. Knows no `logit` and no key. Only with softmax.
//
// Expressions are C++17 in namespace kiln and may use exp, log, tanh, sigmoid, min, max, ... of
// kiln/math.h, `shape::` and these: batch_idx, qo_idx, kv_idx, qo_head_idx, kv_head_idx, qo_len,
// kv_len (int: which sequence, query, key and head, and how many queries and keys the sequence
// has), qo_token, kv_token (long long: the row of the query in q and of the key in k, as [tokens,
// heads, size]; of paged keys batch_idx * pages_max * page_size + kv_idx), num_qo_heads,
// num_kv_heads. `t[i]` is element i (long long) of tensor t, as float or int; the tensors are
// contiguous, and nobody checks that i is within. A written one has `t.put(i, x)`, which stores x
// and gives it back; its order among the pairs is undefined.
struct AttentionVariant {
  struct Tensor {
    std::string name;
    std::string type;      // f32, bf16, f16, i32 or u8
    bool written = false;  // by `put`; then it is f32, bf16 or f16
  };
  struct Scalar {
    std::string name;
    std::string type;  // f32 or i32
  };

  std::string name;  // letters, digits and _; for listings, and for places in compilers' messages
  std::string doc;   // one line; not part of any key
  std::string logits;
  std::string mask;
  std::string sink;
  // Whether the weights are the logits' softmax. If not, they are the logits themselves, with 0
  // where a key is not seen, and there is no log-sum-exp.
  bool softmax = true;
  std::vector<Tensor> tensors;  // at most 4
  std::vector<Scalar> scalars;  // at most 4
};

struct KnownAttentionVariant {
  AttentionVariant definition;
  // The value of shape parameter `variant`: the name of a shipped one, else "name@1f3c55...", by
  // the digest of everything but `doc`.
  std::string word;
  std::int64_t index;  // among those known to this process; 0 is "none", which changes nothing
};

// Makes a variant known to this process, which keeps it to its end; the same definition again gives
// the same one. Thread-safe.
// Errors: invalid_argument, with place as "name.logits:1:5", for what is no single expression, or
// would let the code depend on more than its text (directives, string literals, __DATE__ and the
// like); for names that are no identifiers or taken, unknown types, more than fit. Whether the
// expression compiles is only known by compiling it: a kernel's error has the place too.
KILN_API Result<const KnownAttentionVariant*> add_attention_variant(AttentionVariant definition);

// By word, or by name: of several of one name, the last that was added. Null when there is none.
KILN_API const KnownAttentionVariant* find_attention_variant(std::string_view word_or_name);
// Of an index that was given out.
KILN_API const KnownAttentionVariant& attention_variant_at(std::int64_t index);
// "none" and the shipped ones, in the order of the documentation.
KILN_API std::span<const KnownAttentionVariant* const> shipped_attention_variants();

// "attention_decode: variant=x is not known to this process; ...": for errors.
KILN_API std::string unknown_attention_variant(std::string_view op, std::string_view word);

// The generated header "kiln/variant.h" of attention/variant.h.
SourceText attention_variant_header(const KnownAttentionVariant& variant);

}  // namespace kiln
