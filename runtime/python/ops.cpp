// SPDX-License-Identifier: Apache-2.0
// The ops, one row for each argument. What they mean is told in the public header of each.
#include <fmt/format.h>

#include "kiln/kiln.h"
#include "runtime/python/binding.h"

namespace kiln::python {
namespace {

// The struct lies in a call's storage, which nobody destroys.
template <class Args, auto Function>
Binding bind(const char* name, const char* doc, std::vector<Row> rows) {
  static_assert(std::is_trivially_destructible_v<Args>);
  return {name,
          doc,
          std::move(rows),
          sizeof(Args),
          [](void* storage) { new (storage) Args{}; },
          [](Runtime& runtime, const void* args, const CallOptions& options) {
            return Function(runtime, *static_cast<const Args*>(args), options);
          }};
}

Binding qk_rmsnorm_binding() {
  using A = QkRmsnormArgs;
  Row q_out = output<&A::q_out>("q_out", "q", "q[:]");
  q_out.e4m3_with = "q_scale";
  return bind<A, kiln::qk_rmsnorm>("qk_rmsnorm",
                                   "The RMS norms of a layer's queries and keys, in one launch.",
                                   {
                                       input<&A::q>("q"),
                                       input<&A::k>("k"),
                                       weight<&A::q_weight>("q_weight"),
                                       weight<&A::k_weight>("k_weight"),
                                       q_out,
                                       output<&A::k_out>("k_out", "k", "k[:]"),
                                       extra_output<&A::q_scale>("q_scale", "f32", "q[:-1]"),
                                       value<&A::q_eps>("q_eps"),
                                       value<&A::k_eps>("k_eps"),
                                       value<&A::weight_bias>("weight_bias"),
                                       optional_input<&A::rope, &QkRope::positions>("positions"),
                                       optional_input<&A::rope, &QkRope::cos>("cos"),
                                       optional_input<&A::rope, &QkRope::sin>("sin"),
                                       value<&A::rope, &QkRope::interleaved>("interleaved"),
                                   });
}

// The fused gate with the number of experts per token as a number, from which `ids` and `weights`
// can be allocated; in C++ their shape says it.
struct RouterCall {
  RouterGemmArgs gemm;
  std::optional<int> topk;
};

std::int64_t gate_columns(const void* args) {
  const auto& call = *static_cast<const RouterCall*>(args);
  return std::int64_t{call.topk.value_or(0)} +
         (call.gemm.gate ? call.gemm.gate->shared_experts : 0);
}

Result<void> launch_router(Runtime& runtime, const RouterCall& call, const CallOptions& options) {
  if (call.topk && call.gemm.gate) {
    const DLTensor& ids = call.gemm.gate->ids;
    const std::int64_t columns = gate_columns(&call);
    if (*call.topk < 1 || (ids.ndim == 2 && ids.shape[1] != columns)) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("router_gemm: argument 'topk' is {}; expected 1 or more, with {} "
                              "columns of 'ids' for it and the shared experts",
                              *call.topk, columns));
    }
  }
  return kiln::router_gemm(runtime, call.gemm, options);
}

Binding router_gemm_binding() {
  using A = RouterGemmArgs;
  constexpr auto gemm = &RouterCall::gemm;
  return bind<RouterCall, launch_router>(
      "router_gemm", "The logits of a mixture-of-experts router, a @ w.T + bias, and its choice.",
      {
          input<gemm, &A::a>("a"),
          weight<gemm, &A::w>("w"),
          output<gemm, &A::out>("out", "f32", "a[:1] w[:1]"),
          columns_output<gemm, &A::gate, &RouterGate::ids>("ids", "i32", "a[:1]", "topk",
                                                           gate_columns),
          columns_output<gemm, &A::gate, &RouterGate::weights>("weights", "f32", "a[:1]", "topk",
                                                               gate_columns),
          optional_weight<gemm, &A::bias>("bias"),
          value<&RouterCall::topk>("topk"),
          choice<gemm, &A::gate, &RouterGate::scores>("scores", {"sigmoid", "softmax"}),
          optional_weight<gemm, &A::gate, &RouterGate::correction>("correction"),
          value<gemm, &A::gate, &RouterGate::n_group>("n_group"),
          value<gemm, &A::gate, &RouterGate::topk_group>("topk_group"),
          value<gemm, &A::gate, &RouterGate::shared_experts>("shared_experts"),
          value<gemm, &A::gate, &RouterGate::renormalize>("renormalize"),
          value<gemm, &A::gate, &RouterGate::scale>("scale"),
          value<gemm, &A::gate, &RouterGate::shared_weight>("shared_weight"),
          optional_update<gemm, &A::workspace>("workspace"),
      });
}

struct DecodeCall {
  AttentionDecodeArgs decode;
  VariantCall variant;
};

Result<void> launch_decode(Runtime& runtime, const DecodeCall& call, const CallOptions& options) {
  AttentionDecodeArgs args = call.decode;
  args.variant = call.variant.args();
  return kiln::attention_decode(runtime, args, options);
}

Binding attention_decode_binding() {
  using A = AttentionDecodeArgs;
  constexpr auto decode = &DecodeCall::decode;
  const auto floats = [](const void* args) {
    return attention_decode_workspace_floats(static_cast<const DecodeCall*>(args)->decode);
  };
  std::vector<Row> rows = {
      input<decode, &A::q>("q"),
      input<decode, &A::k_cache>("k_cache"),
      optional_input<decode, &A::v_cache>("v_cache"),
      optional_input<decode, &A::block_table>("block_table"),
      optional_input<decode, &A::seq_lens>("seq_lens"),
      output<decode, &A::out>("out", "q", "q[:-1] v_cache[-1:]"),
      extra_output<decode, &A::lse>("lse", "f32", "q[:-1]"),
      workspace<decode, &A::workspace>("workspace", floats),
      value<decode, &A::splits>("splits"),
      value<decode, &A::split_tokens>("split_tokens"),
      value<decode, &A::scale>("scale"),
      value<decode, &A::softcap>("softcap"),
      value<decode, &A::window_left>("window_left"),
      optional_input<decode, &A::indptr>("indptr"),
      optional_input<decode, &A::indices>("indices"),
      optional_input<decode, &A::last_page_lens>("last_page_lens"),
      value<decode, &A::pages_max>("pages_max"),
      optional_input<decode, &A::k_scale>("k_scale"),
      optional_input<decode, &A::v_scale>("v_scale"),
      optional_weight<decode, &A::sinks>("sinks"),
      optional_weight<decode, &A::alibi_slopes>("alibi_slopes"),
  };
  for (Row& row : variant_rows<&DecodeCall::variant>()) rows.push_back(std::move(row));
  return bind<DecodeCall, launch_decode>(
      "attention_decode", "A few query tokens per sequence over a paged key/value cache.",
      std::move(rows));
}

struct PrefillCall {
  AttentionPrefillArgs prefill;
  VariantCall variant;
};

Result<void> launch_prefill(Runtime& runtime, const PrefillCall& call, const CallOptions& options) {
  AttentionPrefillArgs args = call.prefill;
  args.variant = call.variant.args();
  return kiln::attention_prefill(runtime, args, options);
}

Binding attention_prefill_binding() {
  using A = AttentionPrefillArgs;
  constexpr auto prefill = &PrefillCall::prefill;
  std::vector<Row> rows = {
      input<prefill, &A::q>("q"),
      input<prefill, &A::k>("k"),
      input<prefill, &A::v>("v"),
      optional_input<prefill, &A::cu_seqlens_q>("cu_seqlens_q"),
      optional_input<prefill, &A::cu_seqlens_kv>("cu_seqlens_kv"),
      output<prefill, &A::out>("out", "q", "q[:-1] v[-1:]"),
      extra_output<prefill, &A::lse>("lse", "f32", "q[:-1]"),
      value<prefill, &A::causal>("causal"),
      value<prefill, &A::scale>("scale"),
      value<prefill, &A::window_left>("window_left"),
      value<prefill, &A::window_right>("window_right"),
      value<prefill, &A::softcap>("softcap"),
      optional_input<prefill, &A::kv_lens>("kv_lens"),
      optional_input<prefill, &A::block_table>("block_table"),
      optional_weight<prefill, &A::sinks>("sinks"),
      optional_input<prefill, &A::mask>("mask"),
      optional_input<prefill, &A::mask_offsets>("mask_offsets"),
  };
  for (Row& row : variant_rows<&PrefillCall::variant>()) rows.push_back(std::move(row));
  return bind<PrefillCall, launch_prefill>(
      "attention_prefill", "Attention of sequences of queries over their keys and values.",
      std::move(rows));
}

Binding kda_decode_binding() {
  using A = KdaDecodeArgs;
  return bind<A, kiln::kda_decode>(
      "kda_decode", "One or a few tokens of Kimi Delta Attention for each sequence of a batch.",
      {
          input<&A::q>("q"),
          input<&A::k>("k"),
          input<&A::v>("v"),
          input<&A::a>("a"),
          input<&A::b>("b"),
          optional_weight<&A::A_log>("A_log"),
          optional_weight<&A::dt_bias>("dt_bias"),
          update<&A::state>("state"),
          input<&A::slots>("slots"),
          output<&A::out>("out", "v", "v[:]"),
          optional_input<&A::cu_seqlens>("cu_seqlens"),
          value<&A::tokens_max>("tokens_max"),
          optional_input<&A::accepted>("accepted"),
          choice<&A::state_write>("state_write", {"last", "each", "none"}),
          optional_update<&A::intermediate>("intermediate"),
          optional_input<&A::intermediate_slots>("intermediate_slots"),
          choice<&A::gate>("gate", {"softplus", "lower_bound", "precomputed", "scalar"}),
          choice<&A::beta>("beta", {"logit", "doubled", "given"}),
          choice<&A::layout>("layout", {"VK", "KV"}),
          value<&A::qk_l2norm>("qk_l2norm"),
          value<&A::scale>("scale"),
          value<&A::l2norm_eps>("l2norm_eps"),
          value<&A::softplus_beta>("softplus_beta"),
          value<&A::softplus_threshold>("softplus_threshold"),
          value<&A::lower_bound>("lower_bound"),
      });
}

// The CPU needs none, and a prompt whose chunks take more than this is served without: the room is
// for whoever has it to give.
Result<std::int64_t> kda_prefill_workspace(const void* given) {
  constexpr std::int64_t kFloatsMax = std::int64_t{1} << 28;
  const auto& args = *static_cast<const KdaPrefillArgs*>(given);
  if (args.q.device.device_type == kDLCPU) return 0;
  KILN_TRY_ASSIGN(const std::int64_t floats, kda_prefill_workspace_floats(args));
  return floats <= kFloatsMax ? floats : 0;
}

Binding kda_prefill_binding() {
  using A = KdaPrefillArgs;
  return bind<A, kiln::kda_prefill>(
      "kda_prefill", "Kimi Delta Attention over the tokens of sequences.",
      {
          input<&A::q>("q"),
          input<&A::k>("k"),
          input<&A::v>("v"),
          input<&A::a>("a"),
          input<&A::b>("b"),
          optional_weight<&A::A_log>("A_log"),
          optional_weight<&A::dt_bias>("dt_bias"),
          update<&A::state>("state"),
          input<&A::slots>("slots"),
          optional_input<&A::cu_seqlens>("cu_seqlens"),
          output<&A::out>("out", "v", "v[:]"),
          choice<&A::initial_state>("initial_state", {"slot", "zero"}),
          optional_input<&A::initial_slots>("initial_slots"),
          optional_update<&A::checkpoints>("checkpoints"),
          optional_input<&A::checkpoint_slots>("checkpoint_slots"),
          value<&A::checkpoint_every>("checkpoint_every"),
          workspace<&A::workspace>("workspace", kda_prefill_workspace),
          choice<&A::gate>("gate", {"softplus", "lower_bound", "precomputed", "scalar"}),
          choice<&A::beta>("beta", {"logit", "doubled", "given"}),
          choice<&A::layout>("layout", {"VK", "KV"}),
          value<&A::qk_l2norm>("qk_l2norm"),
          value<&A::scale>("scale"),
          value<&A::l2norm_eps>("l2norm_eps"),
          value<&A::softplus_beta>("softplus_beta"),
          value<&A::softplus_threshold>("softplus_threshold"),
          value<&A::lower_bound>("lower_bound"),
      });
}

}  // namespace

const std::vector<Binding>& bindings() {
  static const std::vector<Binding> all = [] {
    std::vector<Binding> made;
    made.push_back(kda_decode_binding());
    made.push_back(kda_prefill_binding());
    made.push_back(attention_decode_binding());
    made.push_back(attention_prefill_binding());
    made.push_back(router_gemm_binding());
    made.push_back(qk_rmsnorm_binding());
    for (Binding& binding : made) {
      for (Row& row : binding.rows) row.key = PyUnicode_InternFromString(row.name.c_str());
    }
    return made;
  }();
  return all;
}

}  // namespace kiln::python
