// SPDX-License-Identifier: Apache-2.0
// The ops, one row for each argument. What they mean is told in the public header of each.
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
  return bind<A, kiln::qk_rmsnorm>("qk_rmsnorm",
                                   "The RMS norms of a layer's queries and keys, in one launch.",
                                   {
                                       input<&A::q>("q"),
                                       input<&A::k>("k"),
                                       weight<&A::q_weight>("q_weight"),
                                       weight<&A::k_weight>("k_weight"),
                                       output<&A::q_out>("q_out", "q", "q[:]"),
                                       output<&A::k_out>("k_out", "k", "k[:]"),
                                       value<&A::q_eps>("q_eps"),
                                       value<&A::k_eps>("k_eps"),
                                       value<&A::weight_bias>("weight_bias"),
                                   });
}

Binding router_gemm_binding() {
  using A = RouterGemmArgs;
  return bind<A, kiln::router_gemm>("router_gemm",
                                    "The logits of a mixture-of-experts router: a @ w.T + bias.",
                                    {
                                        input<&A::a>("a"),
                                        weight<&A::w>("w"),
                                        output<&A::out>("out", "f32", "a[:1] w[:1]"),
                                        optional_weight<&A::bias>("bias"),
                                    });
}

Binding attention_decode_binding() {
  using A = AttentionDecodeArgs;
  const auto floats = [](const void* args) {
    return attention_decode_workspace_floats(*static_cast<const A*>(args));
  };
  return bind<A, kiln::attention_decode>(
      "attention_decode", "One query token per sequence over a paged key/value cache.",
      {
          input<&A::q>("q"),
          input<&A::k_cache>("k_cache"),
          optional_input<&A::v_cache>("v_cache"),
          input<&A::block_table>("block_table"),
          input<&A::seq_lens>("seq_lens"),
          output<&A::out>("out", "q", "q[:-1] v_cache[-1:]"),
          extra_output<&A::lse>("lse", "f32", "q[:-1]"),
          workspace<&A::workspace>("workspace", floats),
          value<&A::splits>("splits"),
          value<&A::scale>("scale"),
      });
}

Binding attention_prefill_binding() {
  using A = AttentionPrefillArgs;
  return bind<A, kiln::attention_prefill>(
      "attention_prefill", "Attention of packed sequences of queries over packed keys and values.",
      {
          input<&A::q>("q"),
          input<&A::k>("k"),
          input<&A::v>("v"),
          input<&A::cu_seqlens_q>("cu_seqlens_q"),
          input<&A::cu_seqlens_kv>("cu_seqlens_kv"),
          output<&A::out>("out", "q", "q[:-1] v[-1:]"),
          extra_output<&A::lse>("lse", "f32", "q[:-1]"),
          value<&A::causal>("causal"),
          value<&A::scale>("scale"),
      });
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

Binding kda_prefill_binding() {
  using A = KdaPrefillArgs;
  return bind<A, kiln::kda_prefill>(
      "kda_prefill", "Kimi Delta Attention over the tokens of packed sequences.",
      {
          input<&A::q>("q"),
          input<&A::k>("k"),
          input<&A::v>("v"),
          input<&A::a>("a"),
          input<&A::b>("b"),
          weight<&A::A_log>("A_log"),
          weight<&A::dt_bias>("dt_bias"),
          update<&A::state>("state"),
          input<&A::slots>("slots"),
          input<&A::cu_seqlens>("cu_seqlens"),
          output<&A::out>("out", "v", "v[:]"),
          choice<&A::initial_state>("initial_state", {"slot", "zero"}),
          value<&A::scale>("scale"),
          value<&A::qk_l2norm>("qk_l2norm"),
          value<&A::l2norm_eps>("l2norm_eps"),
          value<&A::softplus_beta>("softplus_beta"),
          value<&A::softplus_threshold>("softplus_threshold"),
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
