/* SPDX-License-Identifier: Apache-2.0 */
/* A program in C that uses every function of the C interface, well and badly. Prints what failed;
 * exit 0: all held, 77: there is no compiler for the CPU here. argv[1]: a folder for the cache. */
#include "tests/runtime/embed/c_api_test.h"

int failures = 0;
static int64_t shapes[32][4];
int shape_count = 0;

DLTensor tensor(void* data, DLDataTypeCode code, int bits, int ndim, int64_t a, int64_t b,
                int64_t c) {
  int64_t* shape = shapes[shape_count++];
  DLTensor result;
  memset(&result, 0, sizeof result);
  shape[0] = a;
  shape[1] = b;
  shape[2] = c;
  result.data = data;
  result.device.device_type = kDLCPU;
  result.ndim = ndim;
  result.dtype.code = (uint8_t)code;
  result.dtype.bits = (uint8_t)bits;
  result.dtype.lanes = 1;
  result.shape = shape;
  return result;
}

static int events = 0;
static void on_event(const kiln_event* event, void* context) {
  if (event->size_bytes == sizeof *event && event->label && context == &events) ++events;
}

/* out = a w^T: ones, so that each output is K. */
static uint16_t a[2 * 256], w[64 * 256];
static float out[2 * 64];

static void run_an_op(kiln_runtime* runtime) {
  DLTensor ta = tensor(a, kDLBfloat, 16, 2, 2, 256, 0);
  DLTensor tw = tensor(w, kDLBfloat, 16, 2, 64, 256, 0);
  DLTensor tout = tensor(out, kDLFloat, 32, 2, 2, 64, 0);
  kiln_router_gemm_args args;
  kiln_pair shape[] = {{"N", "64"}, {"K", "256"}};
  kiln_request request = {sizeof request, "router_gemm", shape, 2, {kDLCPU, 0}, NULL};
  kiln_call_options call = {0, NULL, NULL};
  kiln_prefetch* prefetch = NULL;
  uint64_t before[32], after[32];
  int answer = -1;
  memset(&args, 0, sizeof args);
  args.size_bytes = sizeof args;
  args.a = &ta;
  args.w = &tw;
  args.out = &tout;
  for (int i = 0; i < 2 * 256; ++i) a[i] = 0x3f80;
  for (int i = 0; i < 64 * 256; ++i) w[i] = 0x3f80;

  CHECK(kiln_ready(runtime, &request, &answer) == KILN_OK && answer == 0);
  CHECK(kiln_prefetch_start(runtime, &request, &prefetch) == KILN_OK);
  CHECK(kiln_prefetch_wait(prefetch) == KILN_OK);
  CHECK(kiln_prefetch_done(prefetch, &answer) == KILN_OK && answer == 1);
  kiln_prefetch_destroy(prefetch);
  CHECK(kiln_ready(runtime, &request, &answer) == KILN_OK && answer == 1);
  CHECK(events == 2);
  CHECK(kiln_counters(runtime, before, kiln_counter_count()) == KILN_OK);
  CHECK(kiln_router_gemm(runtime, &args, NULL) == KILN_OK);
  CHECK(out[0] == 256.0F && out[127] == 256.0F);
  CHECK(kiln_counters(runtime, after, kiln_counter_count()) == KILN_OK);
  CHECK(memcmp(before, after, kiln_counter_count() * sizeof *before) == 0);
  CHECK(kiln_unload(runtime, &request, &answer) == KILN_OK && answer == 1);
  CHECK(kiln_load(runtime, &request) == KILN_OK);
  SAYS(kiln_router_gemm(runtime, &args, &call), KILN_INVALID_ARGUMENT,
       "call_options.size_bytes is 0");
  call.size_bytes = sizeof call;
  call.arch = "sm_";
  SAYS(kiln_router_gemm(runtime, &args, &call), KILN_INVALID_ARGUMENT, "sm_");
  args.out = NULL;
  SAYS(kiln_router_gemm(runtime, &args, NULL), KILN_INVALID_ARGUMENT, "'out' is null");
}

/* All logits are equal, so each token gets the first experts, in equal parts. */
static int32_t ids[2 * 4];
static float weights[2 * 4];

static void run_a_gate(kiln_runtime* runtime) {
  DLTensor ta = tensor(a, kDLBfloat, 16, 2, 2, 256, 0);
  DLTensor tw = tensor(w, kDLBfloat, 16, 2, 64, 256, 0);
  DLTensor tout = tensor(out, kDLFloat, 32, 2, 2, 64, 0);
  DLTensor tids = tensor(ids, kDLInt, 32, 2, 2, 4, 0);
  DLTensor tweights = tensor(weights, kDLFloat, 32, 2, 2, 4, 0);
  kiln_router_gemm_args args;
  int64_t floats = 0;
  memset(&args, 0, sizeof args);
  args.size_bytes = sizeof args;
  args.a = &ta;
  args.w = &tw;
  args.out = &tout;
  args.gate = KILN_ROUTER_GATE_SOFTMAX;
  args.ids = &tids;
  args.weights = &tweights;
  args.shared_experts = 1;
  args.scale = 3.0F;
  CHECK(kiln_router_gemm_workspace_floats(&args, &floats) == KILN_OK && floats > 0);
  CHECK(kiln_router_gemm(runtime, &args, NULL) == KILN_OK);
  for (int i = 0; i < 8; ++i) {
    CHECK(ids[i] == (i % 4 == 3 ? 64 : i % 4));
    CHECK(weights[i] > 0.9999F && weights[i] < 1.0001F);
  }
  args.gate = 3;
  SAYS(kiln_router_gemm(runtime, &args, NULL), KILN_INVALID_ARGUMENT, "gate is 3; it takes 0 to 2");
  args.gate = KILN_ROUTER_GATE_SIGMOID;
  args.ids = NULL;
  SAYS(kiln_router_gemm(runtime, &args, NULL), KILN_INVALID_ARGUMENT, "'ids' is null");
  SAYS(kiln_router_gemm_workspace_floats(&args, NULL), KILN_INVALID_ARGUMENT, "out is null");
}

/* One token: the state was 0, nothing decays, k = q = e0, beta = 1, v and scale are 1. */
static float kda_q[64], kda_v[64], kda_a[64], kda_b[1], kda_out[64], kda_state[64 * 64];

static kiln_status call_kda(kiln_runtime* runtime, kiln_kda_decode_args* args,
                            const char* without) {
  static int32_t slot[1];
  static const float one = 1;
  shape_count = 16;
  DLTensor q = tensor(kda_q, kDLFloat, 32, 3, 1, 1, 64);
  DLTensor v = tensor(kda_v, kDLFloat, 32, 3, 1, 1, 64);
  DLTensor ta = tensor(kda_a, kDLFloat, 32, 3, 1, 1, 64);
  DLTensor b = tensor(kda_b, kDLFloat, 32, 2, 1, 1, 0);
  DLTensor state = tensor(kda_state, kDLFloat, 32, 4, 1, 1, 64);
  DLTensor slots = tensor(slot, kDLInt, 32, 1, 1, 0, 0);
  DLTensor tout = tensor(kda_out, kDLFloat, 32, 3, 1, 1, 64);
  state.shape[3] = 64;
  args->q = args->k = strcmp(without, "q") == 0 ? NULL : &q;
  args->v = &v;
  args->a = &ta;
  args->b = &b;
  args->state = &state;
  args->slots = &slots;
  args->out = &tout;
  args->scale = &one;
  return kiln_kda_decode(runtime, args, NULL);
}

static void run_kda_decode(kiln_runtime* runtime) {
  kiln_kda_decode_args args;
  memset(&args, 0, sizeof args);
  args.size_bytes = sizeof args;
  args.gate = KILN_KDA_GATE_PRECOMPUTED;
  args.beta = KILN_KDA_BETA_GIVEN;
  args.layout = KILN_KDA_LAYOUT_KV;
  args.no_qk_l2norm = 1;
  kda_q[0] = 1;
  kda_b[0] = 1;
  for (int i = 0; i < 64; ++i) kda_v[i] = 1;
  CHECK(call_kda(runtime, &args, "") == KILN_OK);
  for (int i = 0; i < 64; ++i) {
    CHECK(kda_out[i] == 1);
    CHECK(kda_state[i] == 1); /* row 0 of K x V */
    CHECK(kda_state[64 + i] == 0);
  }
  SAYS(call_kda(runtime, &args, "q"), KILN_INVALID_ARGUMENT, "tensor 'q' is null");
  args.gate = 4;
  SAYS(call_kda(runtime, &args, ""), KILN_INVALID_ARGUMENT, "gate is 4; it takes 0 to 3");
  args.gate = KILN_KDA_GATE_SOFTPLUS;
  SAYS(call_kda(runtime, &args, ""), KILN_INVALID_ARGUMENT, "tensor 'A_log' is absent");
  args.gate = KILN_KDA_GATE_LOWER_BOUND;
  args.lower_bound = 1;
  SAYS(call_kda(runtime, &args, ""), KILN_INVALID_ARGUMENT, "lower_bound is 1");
}

static void run_a_template(kiln_runtime* runtime) {
  const kiln_pair source = {"twice.cpp",
                            "#include \"params.h\"\n"
                            "void twice(const void*, const void* p, long long a, long long b) {\n"
                            "  int* x = static_cast<const Params*>(p)->x;\n"
                            "  for (long long i = a; i < b; ++i) x[i] *= FACTOR;\n}\n"};
  const kiln_pair header = {"params.h", "struct Params { int* x; };\n"};
  const char* const names[] = {"twice"};
  const char* const options[] = {"-DFACTOR=2"};
  kiln_template description = {
      sizeof description, "twice", "cpu", &source, &header, 1, names, 1, options, 1};
  kiln_kernel* kernel = NULL;
  kiln_launch launch = {sizeof launch, 0, {3, 0, 0}, {0, 0, 0}, {0, 0, 0}, 0, 0};
  int x[3] = {1, 2, 3};
  struct {
    int* x;
  } params = {x};
  CHECK(kiln_kernel_create(runtime, &description, 0, &kernel) == KILN_OK);
  CHECK(kiln_kernel_launch(kernel, &launch, &params, sizeof params, NULL) == KILN_OK);
  CHECK(x[0] == 2 && x[1] == 4 && x[2] == 6);
  launch.entry = 1;
  SAYS(kiln_kernel_launch(kernel, &launch, &params, sizeof params, NULL), KILN_INVALID_ARGUMENT,
       "entry 1");
  launch.entry = 0;
  SAYS(kiln_kernel_launch(kernel, &launch, NULL, 0, NULL), KILN_INVALID_ARGUMENT, "params is null");
  SAYS(kiln_kernel_launch(kernel, NULL, &params, 8, NULL), KILN_INVALID_ARGUMENT, "is null");
  kiln_kernel_destroy(kernel);
  {
    const kiln_pair broken = {"broken.cpp", "void twice(nonsense);\n"};
    description.source = &broken;
    SAYS(kiln_kernel_create(runtime, &description, 0, &kernel), KILN_COMPILE_FAILED, "twice");
    CHECK(strstr(kiln_last_log(), "nonsense") != NULL);
  }
}

/* Every function with null where something is needed, and with sizes that cannot be. */
static void refuse_bad_input(kiln_runtime* runtime) {
  kiln_pair pair = {"KILN_CACHE_POLICY", "sometimes"};
  kiln_pair unknown = {"KILN_CASHE_DIR", "/x"};
  kiln_runtime_options options = {sizeof options, &pair, 1, NULL, NULL};
  kiln_request request = {sizeof request, "router_gemm", NULL, 0, {kDLCPU, 0}, NULL};
  kiln_template description = {sizeof description, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, 0};
  kiln_router_gemm_args gemm;
  kiln_attention_decode_args decode;
  kiln_kda_prefill_args prefill;
  kiln_runtime* made = NULL;
  kiln_prefetch* prefetch = NULL;
  kiln_kernel* kernel = NULL;
  uint64_t values[64];
  int answer = 0;
  int64_t floats = 0;
  const kiln_status bad = KILN_INVALID_ARGUMENT;
  memset(&decode, 0, sizeof decode);
  memset(&prefill, 0, sizeof prefill);
  memset(&gemm, 0, sizeof gemm);
  gemm.size_bytes = sizeof gemm + 8;
  SAYS(kiln_runtime_create(NULL, NULL), bad, "out is null");
  SAYS(kiln_runtime_create(&options, &made), bad, "KILN_CACHE_POLICY='sometimes'");
  options.settings = &unknown;
  SAYS(kiln_runtime_create(&options, &made), bad, "KILN_CASHE_DIR");
  options.settings = NULL;
  SAYS(kiln_runtime_create(&options, &made), bad, "settings is null");
  options.size_bytes = 0;
  SAYS(kiln_runtime_create(&options, &made), bad, "size_bytes is 0");
  CHECK(made == NULL);
  SAYS(kiln_counters(NULL, values, 1), bad, "kiln_runtime is null");
  SAYS(kiln_counters(runtime, NULL, 1), bad, "values is null");
  SAYS(kiln_counters(runtime, values, 1000), bad, "1000 counters");
  CHECK(kiln_counter_name(0) != NULL && kiln_counter_name(1000) == NULL);
  SAYS(kiln_prefetch_start(NULL, &request, &prefetch), bad, "kiln_runtime is null");
  SAYS(kiln_prefetch_start(runtime, NULL, &prefetch), bad, "kiln_request is null");
  SAYS(kiln_prefetch_start(runtime, &request, NULL), bad, "out is null");
  SAYS(kiln_prefetch_done(NULL, &answer), bad, "kiln_prefetch is null");
  SAYS(kiln_prefetch_wait(NULL), bad, "kiln_prefetch is null");
  SAYS(kiln_ready(runtime, &request, NULL), bad, "out is null");
  SAYS(kiln_ready(NULL, &request, &answer), bad, "kiln_runtime is null");
  SAYS(kiln_load(runtime, NULL), bad, "kiln_request is null");
  SAYS(kiln_unload(NULL, &request, NULL), bad, "kiln_runtime is null");
  request.arch = "sm_";
  SAYS(kiln_load(runtime, &request), bad, "sm_");
  request.op = "router_gem";
  SAYS(kiln_load(runtime, &request), bad, "router_gemm");
  request.op = NULL;
  SAYS(kiln_load(runtime, &request), bad, "op is null");
  request.op = "router_gemm";
  request.shape_count = 1;
  SAYS(kiln_load(runtime, &request), bad, "shape is null");
  SAYS(kiln_router_gemm(runtime, &gemm, NULL), bad, "size_bytes");
  SAYS(kiln_router_gemm(runtime, NULL, NULL), bad, "is null");
  SAYS(kiln_router_gemm(NULL, &gemm, NULL), bad, "kiln_runtime is null");
  SAYS(kiln_kda_decode(runtime, NULL, NULL), bad, "kiln_kda_decode_args is null");
  SAYS(kiln_kda_prefill(runtime, NULL, NULL), bad, "kiln_kda_prefill_args is null");
  SAYS(kiln_attention_decode(runtime, NULL, NULL), bad, "kiln_attention_decode_args is null");
  SAYS(kiln_attention_prefill(runtime, NULL, NULL), bad, "kiln_attention_prefill_args is null");
  SAYS(kiln_qk_rmsnorm(runtime, NULL, NULL), bad, "kiln_qk_rmsnorm_args is null");
  SAYS(kiln_attention_decode_workspace_floats(&decode, &floats), bad, "size_bytes is 0");
  decode.size_bytes = sizeof decode;
  SAYS(kiln_attention_decode_workspace_floats(&decode, &floats), bad, "'q' is null");
  SAYS(kiln_kda_prefill_workspace_floats(&prefill, &floats), bad, "size_bytes is 0");
  prefill.size_bytes = sizeof prefill;
  SAYS(kiln_kda_prefill_workspace_floats(&prefill, &floats), bad, "'q' is null");
  SAYS(kiln_kda_prefill_workspace_floats(&prefill, NULL), bad, "out is null");
  SAYS(kiln_kernel_create(runtime, &description, 0, &kernel), bad, "name is null");
  description.name = "x";
  description.arch = "cpu";
  SAYS(kiln_kernel_create(runtime, &description, 0, &kernel), bad, "source is null");
  SAYS(kiln_kernel_create(runtime, &description, 0, NULL), bad, "out is null");
  SAYS(kiln_kernel_launch(NULL, NULL, NULL, 0, NULL), bad, "kiln_kernel is null");
  CHECK(prefetch == NULL && kernel == NULL);
  kiln_runtime_destroy(NULL);
  kiln_prefetch_destroy(NULL);
  kiln_kernel_destroy(NULL);
}

/* An op with arguments of no size, without a runtime and without tensors,
 * of which it misses `first`. */
#define REFUSES(function, first)                                               \
  do {                                                                         \
    function##_args args;                                                      \
    memset(&args, 0, sizeof args);                                             \
    SAYS(function(runtime, NULL, NULL), KILN_INVALID_ARGUMENT, "is null");     \
    SAYS(function(runtime, &args, NULL), KILN_INVALID_ARGUMENT, "size_bytes"); \
    args.size_bytes = sizeof args + 8;                                         \
    SAYS(function(runtime, &args, NULL), KILN_INVALID_ARGUMENT, "size_bytes"); \
    args.size_bytes = sizeof args;                                             \
    SAYS(function(NULL, &args, NULL), KILN_INVALID_ARGUMENT, "kiln_runtime");  \
    SAYS(function(runtime, &args, NULL), KILN_INVALID_ARGUMENT, first);        \
  } while (0)

static void refuse_bad_calls(kiln_runtime* runtime) {
  REFUSES(kiln_kda_decode, "'q' is null");
  REFUSES(kiln_kda_prefill, "'q' is null");
  REFUSES(kiln_attention_decode, "'q' is null");
  REFUSES(kiln_attention_prefill, "'q' is null");
  REFUSES(kiln_qk_rmsnorm, "'q' is null");
  REFUSES(kiln_router_gemm, "'a' is null");
}

int main(int argc, char** argv) {
  kiln_pair settings[] = {{"KILN_CACHE_DIR", argc > 1 ? argv[1] : ""}, {"KILN_JOBS", "2"}};
  kiln_runtime_options options = {sizeof options, settings, 2, on_event, &events};
  kiln_runtime* runtime = NULL;
  const kiln_pair source = {"none.cpp",
                            "void f(const void*, const void*, long long, long long) {}"};
  const char* const names[] = {"f"};
  kiln_template probe = {sizeof probe, "probe", "cpu", &source, NULL, 0, names, 1, NULL, 0};
  kiln_kernel* kernel = NULL;
  CHECK(kiln_abi_version() == KILN_ABI_VERSION);
  CHECK(strcmp(kiln_status_name(KILN_CACHE_MISS), "cache_miss") == 0);
  CHECK(strcmp(kiln_status_name((kiln_status)99), "unknown") == 0);
  if (kiln_runtime_create(&options, &runtime) != KILN_OK) {
    printf("%s\n", kiln_last_error());
    return 1;
  }
  refuse_bad_input(runtime);
  refuse_bad_calls(runtime);
  refuse_bad_variants();
  if (kiln_kernel_create(runtime, &probe, 0, &kernel) == KILN_UNAVAILABLE) {
    printf("%s\n", kiln_last_error());
    kiln_runtime_destroy(runtime);
    return failures ? 1 : 77;
  }
  events = 0;
  run_an_op(runtime);
  run_a_gate(runtime);
  run_kda_decode(runtime);
  run_a_variant(runtime);
  run_a_decode_variant(runtime);
  run_a_template(runtime);
  kiln_runtime_destroy(runtime);
  kiln_kernel_destroy(kernel);
  printf("%d failures\n", failures);
  return failures ? 1 : 0;
}
