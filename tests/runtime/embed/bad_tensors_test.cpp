// SPDX-License-Identifier: Apache-2.0
// Every tensor of every op, spoilt in every way: a status and a message that names the tensor,
// never a crash, and nothing launched.
#include <gtest/gtest.h>

#include "tests/runtime/embed/sample_calls.h"
#include "tests/runtime/embed/stub_runtime.h"

namespace kiln::test {
namespace {

std::int64_t negative[] = {-1, -1, -1, -1, -1};
std::int64_t huge[] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};

struct Spoil {
  const char* what;
  void (*spoil)(DLTensor& tensor);
};
const Spoil kSpoils[] = {
    {"no shape", [](DLTensor& t) { t.shape = nullptr; }},
    {"no dimensions", [](DLTensor& t) { t.ndim = 0; }},
    {"negative number of dimensions", [](DLTensor& t) { t.ndim = -1; }},
    {"negative sizes", [](DLTensor& t) { t.shape = negative; }},
    {"huge sizes", [](DLTensor& t) { t.shape = huge; }},
    {"unknown type",
     [](DLTensor& t) {
       t.dtype = {99, 3, 7};
     }},
    {"vector type", [](DLTensor& t) { t.dtype.lanes = 4; }},
    {"no data", [](DLTensor& t) { t.data = nullptr; }},
    {"misaligned", [](DLTensor& t) { t.byte_offset = 1; }},
    {"another device",
     [](DLTensor& t) {
       t.device = {kDLCUDA, 7};
     }},
    {"unknown device",
     [](DLTensor& t) {
       t.device = {kDLMetal, 0};
     }},
};

struct Field {
  std::string name;
  std::function<DLTensor&()> get;
  bool any_size = false;  // the call takes whatever it has
};

template <class Args>
void expect_refused(const char* op, Args args, std::vector<Field> (*fields_of)(Args&),
                    Result<void> (*call)(Runtime&, const Args&, const CallOptions&),
                    std::pair<const char*, const char*> unlike_sample = {}) {
  StubRuntime stub(KILN_QUIET_CUDA);
  Shape shape = sample_shape(**find_op(op));
  if (unlike_sample.first) shape.set(unlike_sample.first, std::string(unlike_sample.second));
  stub.store_kernels(**find_op(op), shape);
  ASSERT_TRUE(call(*stub, args, {})) << op;
  const std::uint64_t launches = stub.launches();
  for (const Field& field : fields_of(args)) {
    for (const Spoil& spoil : kSpoils) {
      if (field.any_size && spoil.what == std::string_view("huge sizes")) continue;
      const DLTensor good = field.get();
      spoil.spoil(field.get());
      const auto called = call(*stub, args, {});
      field.get() = good;
      ASSERT_FALSE(called) << op << ": " << field.name << " with " << spoil.what;
      EXPECT_FALSE(called.error().message.empty());
      EXPECT_TRUE(called.error().code == ErrorCode::invalid_argument ||
                  called.error().code == ErrorCode::unavailable)
          << op << ": " << field.name << " with " << spoil.what << ": " << called.error().message;
    }
  }
  EXPECT_EQ(stub.launches(), launches) << op;
  EXPECT_TRUE(call(*stub, args, {})) << op;  // nothing was lost
}

#define KILN_FIELD(name)                                \
  Field {                                               \
#name, [&args]() -> DLTensor& { return args.name; } \
  }

template <class Args>
std::vector<Field> kda_fields(Args& args) {
  return {KILN_FIELD(q),     KILN_FIELD(k),     KILN_FIELD(v),       KILN_FIELD(a),
          KILN_FIELD(b),     KILN_FIELD(A_log), KILN_FIELD(dt_bias), KILN_FIELD(state),
          KILN_FIELD(slots), KILN_FIELD(out)};
}

class BadTensorsTest : public testing::Test {
 protected:
  SampleTensors tensors_{{kDLCUDA, 0}};
};

TEST_F(BadTensorsTest, KdaDecode) {
  expect_refused("kda_decode", sample_kda_decode(tensors_, 4), kda_fields<KdaDecodeArgs>,
                 kda_decode);
}

// With all that a call may leave out.
TEST_F(BadTensorsTest, KdaDecodeOfDrafts) {
  KdaDecodeArgs draft = sample_kda_decode(tensors_, 4);
  draft.slots = tensors_.i32({2, 3});
  draft.cu_seqlens = tensors_.i32({3});
  draft.tokens_max = 3;
  draft.accepted = tensors_.i32({2});
  draft.intermediate = tensors_.f32({5, 3, 8, 128, 128});
  draft.intermediate_slots = tensors_.i32({2});
  expect_refused<KdaDecodeArgs>(
      "kda_decode", draft,
      [](KdaDecodeArgs& args) -> std::vector<Field> {
        return {KILN_FIELD(slots), KILN_FIELD(cu_seqlens), KILN_FIELD(accepted),
                KILN_FIELD(intermediate), KILN_FIELD(intermediate_slots)};
      },
      kda_decode);
}

TEST_F(BadTensorsTest, KdaPrefill) {
  KdaPrefillArgs with_all = sample_kda_prefill(tensors_, 4);
  with_all.initial_slots = tensors_.i32({2});
  with_all.checkpoints = tensors_.f32({5, 8, 128, 128});
  with_all.checkpoint_slots = tensors_.i32({2, 3});
  with_all.workspace = tensors_.f32({1 << 20});
  expect_refused<KdaPrefillArgs>(
      "kda_prefill", with_all,
      [](KdaPrefillArgs& args) {
        std::vector<Field> fields = kda_fields(args);
        for (const Field& more : std::vector<Field>{
                 KILN_FIELD(cu_seqlens), KILN_FIELD(initial_slots), KILN_FIELD(checkpoints),
                 KILN_FIELD(checkpoint_slots),
                 Field{"workspace", [&args]() -> DLTensor& { return args.workspace; }, true}}) {
          fields.push_back(more);
        }
        return fields;
      },
      kda_prefill);
}

TEST_F(BadTensorsTest, AttentionDecode) {
  AttentionDecodeArgs with_lse = sample_attention_decode(tensors_, 4);
  with_lse.lse = tensors_.f32({4, 32});
  expect_refused<AttentionDecodeArgs>(
      "attention_decode", with_lse,
      [](AttentionDecodeArgs& args) -> std::vector<Field> {
        return {KILN_FIELD(q),
                KILN_FIELD(k_cache),
                KILN_FIELD(block_table),
                KILN_FIELD(seq_lens),
                KILN_FIELD(out),
                Field{"v_cache", [&args]() -> DLTensor& { return *args.v_cache; }},
                Field{"lse", [&args]() -> DLTensor& { return *args.lse; }},
                Field{"workspace", [&args]() -> DLTensor& { return *args.workspace; }, true}};
      },
      attention_decode);
}

TEST_F(BadTensorsTest, AttentionPrefill) {
  expect_refused<AttentionPrefillArgs>(
      "attention_prefill", sample_attention_prefill(tensors_, 4),
      [](AttentionPrefillArgs& args) -> std::vector<Field> {
        return {
            KILN_FIELD(q),
            KILN_FIELD(k),
            KILN_FIELD(v),
            Field{"cu_seqlens_q", [&args]() -> DLTensor& { return *args.cu_seqlens_q; }, true},
            Field{"cu_seqlens_kv", [&args]() -> DLTensor& { return *args.cu_seqlens_kv; }, true},
            KILN_FIELD(out)};
      },
      attention_prefill);
}

TEST_F(BadTensorsTest, QkRmsnorm) {
  expect_refused<QkRmsnormArgs>(
      "qk_rmsnorm", sample_qk_rmsnorm(tensors_, 4),
      [](QkRmsnormArgs& args) -> std::vector<Field> {
        return {KILN_FIELD(q),        KILN_FIELD(k),     KILN_FIELD(q_weight),
                KILN_FIELD(k_weight), KILN_FIELD(q_out), KILN_FIELD(k_out)};
      },
      qk_rmsnorm);
}

TEST_F(BadTensorsTest, RouterGemm) {
  RouterGemmArgs with_bias = sample_router_gemm(tensors_, 4);
  with_bias.bias = tensors_.f32({256});
  expect_refused<RouterGemmArgs>(
      "router_gemm", with_bias,
      [](RouterGemmArgs& args) -> std::vector<Field> {
        return {KILN_FIELD(a), KILN_FIELD(w), KILN_FIELD(out),
                Field{"bias", [&args]() -> DLTensor& { return *args.bias; }}};
      },
      router_gemm, {"bias", "f32"});
}

}  // namespace
}  // namespace kiln::test
