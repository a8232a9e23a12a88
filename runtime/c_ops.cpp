// SPDX-License-Identifier: Apache-2.0
// The ops of the C interface: pointers become values, and the C++ op does the rest.
#include "runtime/c_support.h"

using namespace kiln;
using namespace kiln::c;

namespace {

// Reads the fields of one call; remembers the first that is wrong.
class Fields {
 public:
  explicit Fields(const char* op) : op_(op) {}

  DLTensor required(const char* name, const DLTensor* tensor) {
    if (tensor) return *tensor;
    if (!missing_) missing_ = name;
    return {};
  }
  static std::optional<DLTensor> optional(const DLTensor* tensor) {
    return tensor ? std::optional(*tensor) : std::nullopt;
  }
  // As the C++ ops know an argument that is not there.
  static DLTensor or_absent(const DLTensor* tensor) { return tensor ? *tensor : DLTensor{}; }
  // `value` of a C enum, whose C++ twin has the values from 0 to `last`.
  template <class Enum>
  Enum choice(const char* name, int value, Enum last) {
    if (value >= 0 && value <= static_cast<int>(last)) return static_cast<Enum>(value);
    if (!wrong_) wrong_ = Wrong{name, value, static_cast<int>(last)};
    return {};
  }
  // Copies of tensors that an array refers to; as long as the call.
  std::vector<DLTensor> tensors;

  Result<void> check() const {
    if (missing_) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{}: tensor '{}' is null", op_, missing_));
    }
    if (wrong_) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{}: {} is {}; it takes 0 to {}", op_, wrong_->name, wrong_->value,
                              wrong_->last));
    }
    return {};
  }

 private:
  struct Wrong {
    const char* name;
    int value, last;
  };
  const char* op_;
  const char* missing_ = nullptr;
  std::optional<Wrong> wrong_;
};

std::optional<float> optional(const float* value) {
  return value ? std::optional(*value) : std::nullopt;
}
float or_default(float value, float otherwise) {
  return value == 0 ? otherwise : value;
}

Result<CallOptions> options_of(const kiln_call_options* given) {
  CallOptions options;
  if (!given) return options;
  KILN_TRY_ASSIGN(const kiln_call_options asked, read_struct(given, "kiln_call_options"));
  options.stream = {asked.stream};
  if (asked.arch) {
    KILN_TRY_ASSIGN(options.arch, Arch::parse(asked.arch));
  }
  return options;
}

// What the two KDA ops have in common.
template <class Args, class Given>
void set_kda_numbers(Args& args, const Given& given) {
  args.scale = optional(given.scale);
  args.qk_l2norm = given.no_qk_l2norm == 0;
  args.l2norm_eps = or_default(given.l2norm_eps, 1e-6F);
  args.softplus_beta = or_default(given.softplus_beta, 1.0F);
  args.softplus_threshold = or_default(given.softplus_threshold, 20.0F);
  args.lower_bound = or_default(given.lower_bound, -5.0F);
}
template <class Args, class Given>
void set_kda_tensors(Args& args, const Given& given, Fields& fields) {
  args.q = fields.required("q", given.q);
  args.k = fields.required("k", given.k);
  args.v = fields.required("v", given.v);
  args.a = fields.required("a", given.a);
  args.b = fields.required("b", given.b);
  args.state = fields.required("state", given.state);
  args.slots = fields.required("slots", given.slots);
  args.out = fields.required("out", given.out);
  args.A_log = Fields::or_absent(given.A_log);
  args.dt_bias = Fields::or_absent(given.dt_bias);
  args.cu_seqlens = Fields::or_absent(given.cu_seqlens);
  args.gate = fields.choice("gate", given.gate, KdaGate::scalar);
  args.beta = fields.choice("beta", given.beta, KdaBeta::given);
  args.layout = fields.choice("layout", given.layout, KdaLayout::KV);
}

// One of each suffices: the others are counted from the same 0.
static_assert(static_cast<int>(KdaGate::scalar) == KILN_KDA_GATE_SCALAR);
static_assert(static_cast<int>(KdaBeta::given) == KILN_KDA_BETA_GIVEN);
static_assert(static_cast<int>(KdaLayout::KV) == KILN_KDA_LAYOUT_KV);
static_assert(static_cast<int>(KdaStateWrite::none) == KILN_KDA_STATE_WRITE_NONE);

KdaDecodeArgs args_of(const kiln_kda_decode_args& given, Fields& fields) {
  KdaDecodeArgs args{};
  set_kda_tensors(args, given, fields);
  set_kda_numbers(args, given);
  args.accepted = Fields::or_absent(given.accepted);
  args.intermediate = Fields::or_absent(given.intermediate);
  args.intermediate_slots = Fields::or_absent(given.intermediate_slots);
  if (given.tokens_max != 0) args.tokens_max = given.tokens_max;
  args.state_write = fields.choice("state_write", given.state_write, KdaStateWrite::none);
  return args;
}

KdaPrefillArgs args_of(const kiln_kda_prefill_args& given, Fields& fields) {
  KdaPrefillArgs args{};
  set_kda_tensors(args, given, fields);
  set_kda_numbers(args, given);
  args.initial_slots = Fields::or_absent(given.initial_slots);
  args.checkpoints = Fields::or_absent(given.checkpoints);
  args.checkpoint_slots = Fields::or_absent(given.checkpoint_slots);
  if (given.checkpoint_every != 0) args.checkpoint_every = given.checkpoint_every;
  args.workspace = Fields::or_absent(given.workspace);
  if (given.zero_initial_state) args.initial_state = InitialState::zero;
  return args;
}

AttentionVariantArgs variant_of(const kiln_attention_variant* variant,
                                std::vector<DLTensor>& tensors, const DLTensor* const* given,
                                std::size_t count, const double* scalars, std::size_t scalars_count,
                                Fields& fields) {
  for (std::size_t i = 0; given && i < count; ++i) {
    tensors.push_back(fields.required("variant_tensors[i]", given[i]));
  }
  if (!given && count > 0) fields.required("variant_tensors", nullptr);
  if (!scalars && scalars_count > 0) fields.required("variant_scalars", nullptr);
  return {reinterpret_cast<const KnownAttentionVariant*>(variant),
          tensors,
          {scalars, scalars ? scalars_count : 0}};
}

AttentionDecodeArgs args_of(const kiln_attention_decode_args& given, Fields& fields) {
  AttentionDecodeArgs args{};
  args.q = fields.required("q", given.q);
  args.k_cache = fields.required("k_cache", given.k_cache);
  args.v_cache = Fields::optional(given.v_cache);
  if (given.indptr) {
    args.block_table = Fields::or_absent(given.block_table);
    args.seq_lens = Fields::or_absent(given.seq_lens);
  } else {
    args.block_table = fields.required("block_table", given.block_table);
    args.seq_lens = fields.required("seq_lens", given.seq_lens);
  }
  args.indptr = Fields::optional(given.indptr);
  args.indices = Fields::optional(given.indices);
  args.last_page_lens = Fields::optional(given.last_page_lens);
  args.pages_max = given.pages_max;
  args.out = fields.required("out", given.out);
  args.lse = Fields::optional(given.lse);
  args.k_scale = Fields::optional(given.k_scale);
  args.v_scale = Fields::optional(given.v_scale);
  args.sinks = Fields::optional(given.sinks);
  args.alibi_slopes = Fields::optional(given.alibi_slopes);
  args.workspace = Fields::optional(given.workspace);
  args.splits = given.splits;
  args.split_tokens = given.split_tokens;
  args.scale = optional(given.scale);
  args.softcap = given.softcap;
  if (given.window_left) args.window_left = *given.window_left;
  args.variant =
      variant_of(given.variant, fields.tensors, given.variant_tensors, given.variant_tensors_count,
                 given.variant_scalars, given.variant_scalars_count, fields);
  return args;
}

AttentionPrefillArgs args_of(const kiln_attention_prefill_args& given, Fields& fields) {
  AttentionPrefillArgs args{};
  args.q = fields.required("q", given.q);
  args.k = fields.required("k", given.k);
  args.v = fields.required("v", given.v);
  args.cu_seqlens_q = Fields::optional(given.cu_seqlens_q);
  args.cu_seqlens_kv = Fields::optional(given.cu_seqlens_kv);
  args.out = fields.required("out", given.out);
  args.lse = Fields::optional(given.lse);
  args.kv_lens = Fields::optional(given.kv_lens);
  args.block_table = Fields::optional(given.block_table);
  args.sinks = Fields::optional(given.sinks);
  args.mask = Fields::optional(given.mask);
  args.mask_offsets = Fields::optional(given.mask_offsets);
  args.causal = given.not_causal == 0;
  if (given.window_left) args.window_left = *given.window_left;
  if (given.window_right) args.window_right = *given.window_right;
  args.scale = optional(given.scale);
  args.softcap = given.softcap;
  args.variant =
      variant_of(given.variant, fields.tensors, given.variant_tensors, given.variant_tensors_count,
                 given.variant_scalars, given.variant_scalars_count, fields);
  return args;
}

QkRmsnormArgs args_of(const kiln_qk_rmsnorm_args& given, Fields& fields) {
  QkRmsnormArgs args{};
  args.q = fields.required("q", given.q);
  args.k = fields.required("k", given.k);
  args.q_weight = fields.required("q_weight", given.q_weight);
  args.k_weight = fields.required("k_weight", given.k_weight);
  args.q_out = fields.required("q_out", given.q_out);
  args.k_out = fields.required("k_out", given.k_out);
  args.q_eps = or_default(given.q_eps, 1e-6F);
  args.k_eps = or_default(given.k_eps, 1e-6F);
  args.weight_bias = given.weight_bias != 0;
  args.q_scale = Fields::optional(given.q_scale);
  if (given.positions || given.cos || given.sin) {
    args.rope.emplace();
    args.rope->positions = fields.required("positions", given.positions);
    args.rope->cos = fields.required("cos", given.cos);
    args.rope->sin = fields.required("sin", given.sin);
    args.rope->interleaved = given.interleaved != 0;
  }
  return args;
}

RouterGate gate_of(const kiln_router_gemm_args& given, Fields& fields) {
  RouterGate gate;
  if (given.gate == KILN_ROUTER_GATE_SOFTMAX) gate.scores = RouterScores::softmax;
  gate.ids = fields.required("ids", given.ids);
  gate.weights = fields.required("weights", given.weights);
  gate.correction = Fields::optional(given.correction);
  if (given.n_group != 0) gate.n_group = given.n_group;
  if (given.topk_group != 0) gate.topk_group = given.topk_group;
  gate.shared_experts = given.shared_experts;
  gate.renormalize = given.no_renormalize == 0;
  gate.scale = or_default(given.scale, 1.0F);
  gate.shared_weight = or_default(given.shared_weight, 1.0F);
  return gate;
}

RouterGemmArgs args_of(const kiln_router_gemm_args& given, Fields& fields) {
  RouterGemmArgs args{};
  args.a = fields.required("a", given.a);
  args.w = fields.required("w", given.w);
  args.out = fields.required("out", given.out);
  args.bias = Fields::optional(given.bias);
  args.workspace = Fields::optional(given.workspace);
  enum class Gate { none, sigmoid, softmax };
  if (fields.choice("gate", given.gate, Gate::softmax) != Gate::none) {
    args.gate = gate_of(given, fields);
  }
  return args;
}

template <class Given, class Args>
kiln_status call(kiln_runtime* handle, const Given* given, const kiln_call_options* given_options,
                 const char* struct_name, const char* op,
                 Result<void> (*launch)(Runtime&, const Args&, const CallOptions&)) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(Runtime* const runtime, runtime_of(handle));
    KILN_TRY_ASSIGN(const Given asked, read_struct(given, struct_name));
    KILN_TRY_ASSIGN(const CallOptions options, options_of(given_options));
    Fields fields(op);
    const Args args = args_of(asked, fields);
    KILN_TRY(fields.check());
    return launch(*runtime, args, options);
  });
}

}  // namespace

extern "C" {

kiln_status kiln_kda_decode(kiln_runtime* runtime, const kiln_kda_decode_args* args,
                            const kiln_call_options* options) {
  return call(runtime, args, options, "kiln_kda_decode_args", "kda_decode", kda_decode);
}
kiln_status kiln_kda_prefill(kiln_runtime* runtime, const kiln_kda_prefill_args* args,
                             const kiln_call_options* options) {
  return call(runtime, args, options, "kiln_kda_prefill_args", "kda_prefill", kda_prefill);
}
kiln_status kiln_kda_prefill_workspace_floats(const kiln_kda_prefill_args* args, int64_t* out) {
  return guard([&]() -> Result<void> {
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const auto asked, read_struct(args, "kiln_kda_prefill_args"));
    Fields fields("kda_prefill");
    const KdaPrefillArgs all = args_of(asked, fields);
    KILN_TRY(fields.check());
    KILN_TRY_ASSIGN(*out, kda_prefill_workspace_floats(all));
    return {};
  });
}
kiln_status kiln_attention_decode(kiln_runtime* runtime, const kiln_attention_decode_args* args,
                                  const kiln_call_options* options) {
  return call(runtime, args, options, "kiln_attention_decode_args", "attention_decode",
              attention_decode);
}
kiln_status kiln_attention_decode_workspace_floats(const kiln_attention_decode_args* args,
                                                   int64_t* out) {
  return guard([&]() -> Result<void> {
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const auto asked, read_struct(args, "kiln_attention_decode_args"));
    Fields fields("attention_decode");
    const AttentionDecodeArgs all = args_of(asked, fields);
    KILN_TRY(fields.check());
    KILN_TRY_ASSIGN(*out, attention_decode_workspace_floats(all));
    return {};
  });
}
kiln_status kiln_attention_prefill(kiln_runtime* runtime, const kiln_attention_prefill_args* args,
                                   const kiln_call_options* options) {
  return call(runtime, args, options, "kiln_attention_prefill_args", "attention_prefill",
              attention_prefill);
}
kiln_status kiln_qk_rmsnorm(kiln_runtime* runtime, const kiln_qk_rmsnorm_args* args,
                            const kiln_call_options* options) {
  return call(runtime, args, options, "kiln_qk_rmsnorm_args", "qk_rmsnorm", qk_rmsnorm);
}
kiln_status kiln_router_gemm(kiln_runtime* runtime, const kiln_router_gemm_args* args,
                             const kiln_call_options* options) {
  return call(runtime, args, options, "kiln_router_gemm_args", "router_gemm", router_gemm);
}
kiln_status kiln_router_gemm_workspace_floats(const kiln_router_gemm_args* args, int64_t* out) {
  return guard([&]() -> Result<void> {
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const auto asked, read_struct(args, "kiln_router_gemm_args"));
    Fields fields("router_gemm");
    const RouterGemmArgs all = args_of(asked, fields);
    KILN_TRY(fields.check());
    KILN_TRY_ASSIGN(*out, router_gemm_workspace_floats(all));
    return {};
  });
}
}
