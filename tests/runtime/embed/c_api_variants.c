/* SPDX-License-Identifier: Apache-2.0 */
/* The attention variants of the C interface, used well and badly. */
#include "tests/runtime/embed/c_api_test.h"

/* A variant whose mask lets each query see one key alone, so that the output is its value. */
void run_a_variant(kiln_runtime* runtime) {
  static uint16_t q[64], k[2 * 64], v[2 * 64], seen[64];
  const kiln_pair tensors[] = {{"keys", "i32"}}, scalars[] = {{"shift", "i32"}};
  const kiln_attention_variant_definition definition = {
      sizeof definition, "one_key", NULL, "kv_idx == keys[qo_idx] + shift", NULL, 0, tensors, 1,
      scalars,           1};
  const kiln_attention_variant *variant = NULL, *found = NULL;
  const double shift = 1;
  int32_t keys[1] = {0};
  kiln_attention_prefill_args args;
  shape_count = 8;
  DLTensor tq = tensor(q, kDLBfloat, 16, 3, 1, 1, 64), tk = tensor(k, kDLBfloat, 16, 4, 1, 2, 1);
  DLTensor tv = tensor(v, kDLBfloat, 16, 4, 1, 2, 1),
           tout = tensor(seen, kDLBfloat, 16, 4, 1, 1, 1);
  DLTensor tkeys = tensor(keys, kDLInt, 32, 1, 1, 0, 0);
  const DLTensor* const given[] = {&tkeys};
  tq.ndim = 4;
  tq.shape[1] = tq.shape[2] = 1;
  tq.shape[3] = tk.shape[3] = tv.shape[3] = tout.shape[3] = 64;
  for (int i = 0; i < 64; ++i) v[64 + i] = 0x3f80;
  CHECK(kiln_attention_variant_add(&definition, &variant) == KILN_OK && variant != NULL);
  CHECK(kiln_attention_variant_find("one_key", &found) == KILN_OK && found == variant);
  memset(&args, 0, sizeof args);
  args.size_bytes = sizeof args;
  args.q = &tq;
  args.k = &tk;
  args.v = &tv;
  args.out = &tout;
  args.not_causal = 1;
  args.variant = variant;
  SAYS(kiln_attention_prefill(runtime, &args, NULL), KILN_INVALID_ARGUMENT,
       "takes 1 tensors and 1 scalars; 0 and 0 are given");
  args.variant_tensors_count = args.variant_scalars_count = 1;
  SAYS(kiln_attention_prefill(runtime, &args, NULL), KILN_INVALID_ARGUMENT, "'variant_");
  args.variant_tensors = given;
  args.variant_scalars = &shift;
  CHECK(kiln_attention_prefill(runtime, &args, NULL) == KILN_OK);
  for (int i = 0; i < 64; ++i) CHECK(seen[i] == 0x3f80);
}

/* The same of attention_decode: the second of two tokens in a page. */
void run_a_decode_variant(kiln_runtime* runtime) {
  static uint16_t q[64], k[2 * 64], v[2 * 64], seen[64];
  int32_t keys[1] = {0}, table[1] = {0}, lengths[1] = {2};
  const double shift = 1;
  const float one = 1;
  kiln_attention_decode_args args;
  shape_count = 8;
  DLTensor tq = tensor(q, kDLBfloat, 16, 3, 1, 1, 64),
           tout = tensor(seen, kDLBfloat, 16, 3, 1, 1, 64);
  DLTensor tk = tensor(k, kDLBfloat, 16, 3, 1, 2, 64), tv = tensor(v, kDLBfloat, 16, 3, 1, 2, 64);
  DLTensor ttable = tensor(table, kDLInt, 32, 2, 1, 1, 0);
  DLTensor tlengths = tensor(lengths, kDLInt, 32, 1, 1, 0, 0);
  DLTensor tkeys = tensor(keys, kDLInt, 32, 1, 1, 0, 0);
  const DLTensor* const given[] = {&tkeys};
  for (int i = 0; i < 64; ++i) v[64 + i] = 0x3f80;
  memset(&args, 0, sizeof args);
  args.size_bytes = sizeof args;
  args.q = &tq;
  args.k_cache = &tk;
  args.v_cache = &tv;
  args.block_table = &ttable;
  args.seq_lens = &tlengths;
  args.out = &tout;
  args.scale = &one;
  CHECK(kiln_attention_variant_find("one_key", &args.variant) == KILN_OK);
  SAYS(kiln_attention_decode(runtime, &args, NULL), KILN_INVALID_ARGUMENT,
       "takes 1 tensors and 1 scalars; 0 and 0 are given");
  args.variant_tensors = given;
  args.variant_scalars = &shift;
  args.variant_tensors_count = args.variant_scalars_count = 1;
  CHECK(kiln_attention_decode(runtime, &args, NULL) == KILN_OK);
  for (int i = 0; i < 64; ++i) CHECK(seen[i] == 0x3f80);
}

void refuse_bad_variants(void) {
  const kiln_pair letter = {"p", "f64"};
  kiln_attention_variant_definition given = {sizeof given, "bad", NULL, NULL, NULL, 0,
                                             NULL,         0,     NULL, 0};
  const kiln_attention_variant* variant = NULL;
  const kiln_status bad = KILN_INVALID_ARGUMENT;
  SAYS(kiln_attention_variant_find("sigmoids", &variant), bad, "sigmoids");
  SAYS(kiln_attention_variant_find(NULL, &variant), bad, "name is null");
  SAYS(kiln_attention_variant_find("sigmoid", NULL), bad, "out is null");
  SAYS(kiln_attention_variant_add(NULL, &variant), bad, "is null");
  SAYS(kiln_attention_variant_add(&given, NULL), bad, "out is null");
  given.logits = "logit; exit(1)";
  SAYS(kiln_attention_variant_add(&given, &variant), bad, "bad.logits:1:6: ';' is refused");
  given.logits = "logit";
  given.scalars = &letter;
  given.scalars_count = 1;
  SAYS(kiln_attention_variant_add(&given, &variant), bad, "f64");
  given.tensors_count = 1;
  SAYS(kiln_attention_variant_add(&given, &variant), bad, "tensors is null");
  given.name = NULL;
  SAYS(kiln_attention_variant_add(&given, &variant), bad, "name is null");
  given.size_bytes = 0;
  SAYS(kiln_attention_variant_add(&given, &variant), bad, "size_bytes is 0");
  CHECK(variant == NULL);
}
