/* SPDX-License-Identifier: Apache-2.0 */
/* Kiln's C interface: C11, no C++ type in sight.
 *
 * Every function that can fail returns a kiln_status; kiln_last_error() then says what was wrong,
 * per thread. What a function gives out through a pointer is written only on KILN_OK. Pointers that
 * are handed in stay the caller's and are not kept, unless a comment says so.
 *
 * Thread-safety: any function may be called from any thread at any time, also on the same handle,
 * but for the destroy functions: nobody may use a handle while or after it is destroyed. Destroying
 * null does nothing.
 *
 * Growth: every struct begins with its size as the caller knows it; set it to sizeof. Fields are
 * only ever added at the end, and a field that the caller does not know is zero, which means its
 * default. A new KILN_ABI_VERSION is a break. */
#ifndef KILN_C_API_H_
#define KILN_C_API_H_

#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KILN_C_API __attribute__((visibility("default")))

#define KILN_ABI_VERSION 1
/* Of the library that is loaded; compare it with KILN_ABI_VERSION of the header. */
KILN_C_API uint32_t kiln_abi_version(void);

typedef enum kiln_status {
  KILN_OK = 0,
  KILN_INVALID_ARGUMENT = 1, /* the request itself is wrong */
  KILN_UNAVAILABLE = 2,      /* a library, compiler, device or arch is not here */
  KILN_COMPILE_FAILED = 3,   /* kiln_last_log() holds the compiler's own words */
  KILN_CACHE_MISS = 4,       /* policy `locked` or a capture forbids the compile */
  KILN_CACHE_FAILED = 5,
  KILN_DRIVER_FAILED = 6,
  KILN_OUT_OF_MEMORY = 7,
  KILN_INTERNAL = 8, /* a bug in Kiln */
  KILN_CANCELLED = 9 /* the one who asked gave up */
} kiln_status;

/* "invalid_argument" */
KILN_C_API const char* kiln_status_name(kiln_status status);
/* The message, one line, of the last call that failed on this thread; and the compiler's or
 * driver's own output, often empty. Never null; valid until the next failure on this thread. */
KILN_C_API const char* kiln_last_error(void);
KILN_C_API const char* kiln_last_log(void);

/* A name and its value, or a file's name and its text. */
typedef struct kiln_pair {
  const char* name;
  const char* value;
} kiln_pair;

typedef enum kiln_event_kind {
  KILN_COMPILE_BEGIN = 0,
  KILN_COMPILE_END = 1,
  KILN_FALL_BACK = 2 /* the best implementation's kernel cannot be had; `instead` serves */
} kiln_event_kind;

/* Valid only during the callback. No text is null. */
typedef struct kiln_event {
  size_t size_bytes;
  kiln_event_kind kind;
  kiln_status status;   /* of a compile that ended; why there was a fall-back */
  const char* label;    /* "kda_decode/warp_rows H=8 K=128 sm_90a" */
  const char* compiler; /* "nvrtc" */
  const char* message;  /* of a failure */
  const char* instead;
  double time_ms; /* of a compile that ended */
} kiln_event;
/* Called on the thread that compiles or launches, maybe on several at a time. */
typedef void (*kiln_event_callback)(const kiln_event* event, void* context);

typedef struct kiln_runtime kiln_runtime;

typedef struct kiln_runtime_options {
  size_t size_bytes;
  /* What Kiln's environment variables say, by their names ("KILN_CACHE_DIR"); these win over the
   * environment's own. */
  const kiln_pair* settings;
  size_t settings_count;
  kiln_event_callback on_event; /* may be null */
  void* on_event_context;
} kiln_runtime_options;

/* `options` null: as the environment says. */
KILN_C_API kiln_status kiln_runtime_create(const kiln_runtime_options* options, kiln_runtime** out);
KILN_C_API void kiln_runtime_destroy(kiln_runtime* runtime);

/* Counters since the runtime's creation: their number, the name of each (null for a bad index), and
 * the values of the first `count`. */
KILN_C_API size_t kiln_counter_count(void);
KILN_C_API const char* kiln_counter_name(size_t index);
KILN_C_API kiln_status kiln_counters(const kiln_runtime* runtime, uint64_t* values, size_t count);

/* ---- Kernels before their first call ---- */

typedef struct kiln_request {
  size_t size_bytes;
  const char* op;         /* "kda_decode" */
  const kiln_pair* shape; /* "H" = "8"; what is missing has the op's default */
  size_t shape_count;
  DLDevice device;
  const char* arch; /* null: the device's own */
} kiln_request;

typedef struct kiln_prefetch kiln_prefetch;
/* Compiles and loads in the background. */
KILN_C_API kiln_status kiln_prefetch_start(kiln_runtime* runtime, const kiln_request* request,
                                           kiln_prefetch** out);
KILN_C_API kiln_status kiln_prefetch_done(const kiln_prefetch* prefetch, int* out);
/* Waits; KILN_OK when the kernels are loaded. */
KILN_C_API kiln_status kiln_prefetch_wait(const kiln_prefetch* prefetch);
/* Does not stop it. May follow kiln_runtime_destroy(). */
KILN_C_API void kiln_prefetch_destroy(kiln_prefetch* prefetch);

/* Whether a call would find its kernel loaded; never waits. */
KILN_C_API kiln_status kiln_ready(const kiln_runtime* runtime, const kiln_request* request,
                                  int* out);
/* Compiles and loads before it returns. */
KILN_C_API kiln_status kiln_load(kiln_runtime* runtime, const kiln_request* request);
/* Lets go of the kernels; no captured graph and no launch under way may use them. `out`: how many,
 * may be null. */
KILN_C_API kiln_status kiln_unload(kiln_runtime* runtime, const kiln_request* request, int* out);

/* ---- Ops: tensors, shapes and maths as in the C++ header of the same name ---- */

typedef struct kiln_call_options {
  size_t size_bytes;
  void* stream;     /* CUstream or hipStream_t; null on the CPU */
  const char* arch; /* null: the device's own */
} kiln_call_options;

/* In all of these `options` may be null, an optional tensor is null where there is none, and a null
 * `scale` means the default. */

/* As the C++ enums of the same names, in that order; 0 is the default. */
typedef enum kiln_kda_gate {
  KILN_KDA_GATE_SOFTPLUS = 0,
  KILN_KDA_GATE_LOWER_BOUND = 1,
  KILN_KDA_GATE_PRECOMPUTED = 2,
  KILN_KDA_GATE_SCALAR = 3
} kiln_kda_gate;
typedef enum kiln_kda_beta {
  KILN_KDA_BETA_LOGIT = 0,
  KILN_KDA_BETA_DOUBLED = 1,
  KILN_KDA_BETA_GIVEN = 2
} kiln_kda_beta;
typedef enum kiln_kda_layout { KILN_KDA_LAYOUT_VK = 0, KILN_KDA_LAYOUT_KV = 1 } kiln_kda_layout;
typedef enum kiln_kda_state_write {
  KILN_KDA_STATE_WRITE_LAST = 0,
  KILN_KDA_STATE_WRITE_EACH = 1,
  KILN_KDA_STATE_WRITE_NONE = 2
} kiln_kda_state_write;

typedef struct kiln_kda_decode_args {
  size_t size_bytes;
  const DLTensor *q, *k, *v, *a, *b, *state, *slots, *out;
  const DLTensor *A_log, *dt_bias;                   /* optional, A_log by some gates alone */
  const DLTensor *cu_seqlens, *accepted;             /* optional */
  const DLTensor *intermediate, *intermediate_slots; /* optional, both or none */
  int64_t tokens_max;                                /* with cu_seqlens; 0: 1 */
  int32_t gate;        /* kiln_kda_gate; the enums have no fixed width in C */
  int32_t beta;        /* kiln_kda_beta */
  int32_t layout;      /* kiln_kda_layout */
  int32_t state_write; /* kiln_kda_state_write */
  const float* scale;
  int no_qk_l2norm;         /* 0: q and k are normalised */
  float l2norm_eps;         /* 0: 1e-6 */
  float softplus_beta;      /* 0: 1 */
  float softplus_threshold; /* 0: 20 */
  float lower_bound;        /* 0: -5 */
} kiln_kda_decode_args;
KILN_C_API kiln_status kiln_kda_decode(kiln_runtime* runtime, const kiln_kda_decode_args* args,
                                       const kiln_call_options* options);

typedef struct kiln_kda_prefill_args {
  size_t size_bytes;
  const DLTensor *q, *k, *v, *a, *b, *state, *slots, *out;
  const DLTensor *A_log, *dt_bias;                /* optional, A_log by some gates alone */
  const DLTensor *cu_seqlens, *initial_slots;     /* optional */
  const DLTensor *checkpoints, *checkpoint_slots; /* optional, both or none */
  int64_t checkpoint_every;                       /* tokens; 0: 64 */
  int32_t gate;                                   /* kiln_kda_gate */
  int32_t beta;                                   /* kiln_kda_beta */
  int32_t layout;                                 /* kiln_kda_layout */
  int zero_initial_state;                         /* 0: each sequence goes on from its state */
  const float* scale;
  int no_qk_l2norm;          /* 0: q and k are normalised */
  float l2norm_eps;          /* 0: 1e-6 */
  float softplus_beta;       /* 0: 1 */
  float softplus_threshold;  /* 0: 20 */
  float lower_bound;         /* 0: -5 */
  const DLTensor* workspace; /* optional */
} kiln_kda_prefill_args;
KILN_C_API kiln_status kiln_kda_prefill(kiln_runtime* runtime, const kiln_kda_prefill_args* args,
                                        const kiln_call_options* options);
/* The floats that `workspace` needs to be of use. */
KILN_C_API kiln_status kiln_kda_prefill_workspace_floats(const kiln_kda_prefill_args* args,
                                                         int64_t* out);

/* ---- Attention variants: expressions of the caller's own, as in kiln/attention_variant.h ---- */

typedef struct kiln_attention_variant kiln_attention_variant;

typedef struct kiln_attention_variant_definition {
  size_t size_bytes;
  const char* name;
  const char *logits, *mask, *sink; /* expressions; null: none */
  int no_softmax;
  /* Name and type: {"slopes", "f32"}; a type with " written" behind it: stored to by `put`. */
  const kiln_pair* tensors;
  size_t tensors_count;
  const kiln_pair* scalars;
  size_t scalars_count;
} kiln_attention_variant_definition;
/* Known to the process until its end: there is nothing to destroy. The same definition again gives
 * the same handle. */
KILN_C_API kiln_status kiln_attention_variant_add(
    const kiln_attention_variant_definition* definition, const kiln_attention_variant** out);
/* A shipped one ("sigmoid", "sink", "document", "logits_dump"), or the last added of this name. */
KILN_C_API kiln_status kiln_attention_variant_find(const char* name,
                                                   const kiln_attention_variant** out);

typedef struct kiln_attention_decode_args {
  size_t size_bytes;
  const DLTensor *q, *k_cache, *v_cache /* optional */, *block_table, *seq_lens, *out;
  const DLTensor *lse, *workspace; /* optional */
  int splits;                      /* 0: chosen by the op */
  const float* scale;
  const DLTensor *indptr, *indices, *last_page_lens; /* in place of block_table and seq_lens */
  int64_t pages_max;                                 /* with indptr; 0: as many as indices */
  const DLTensor *k_scale, *v_scale, *sinks, *alibi_slopes; /* optional */
  float softcap;                                            /* 0: none */
  const int64_t* window_left;                               /* null: none */
  int64_t split_tokens;                                     /* 0: see splits */
  const kiln_attention_variant* variant;                    /* null: none */
  const DLTensor* const* variant_tensors; /* as many as its definition has, in its order */
  size_t variant_tensors_count;
  const double* variant_scalars;
  size_t variant_scalars_count;
} kiln_attention_decode_args;
KILN_C_API kiln_status kiln_attention_decode(kiln_runtime* runtime,
                                             const kiln_attention_decode_args* args,
                                             const kiln_call_options* options);
/* The floats of the workspace that serves these arguments best. */
KILN_C_API kiln_status
kiln_attention_decode_workspace_floats(const kiln_attention_decode_args* args, int64_t* out);

typedef struct kiln_attention_prefill_args {
  size_t size_bytes;
  const DLTensor *q, *k, *v;
  const DLTensor *cu_seqlens_q, *cu_seqlens_kv; /* of packed queries and keys; else null */
  const DLTensor* out;
  const DLTensor* lse; /* optional */
  int not_causal;
  const float* scale;
  const DLTensor *kv_lens, *block_table;       /* of pages; kv_lens of dense keys too */
  const DLTensor *sinks, *mask, *mask_offsets; /* optional */
  const int64_t *window_left, *window_right;   /* null: all */
  float softcap;                               /* 0: none */
  const kiln_attention_variant* variant;       /* null: none */
  const DLTensor* const* variant_tensors;      /* as many as its definition has, in its order */
  size_t variant_tensors_count;
  const double* variant_scalars;
  size_t variant_scalars_count;
} kiln_attention_prefill_args;
KILN_C_API kiln_status kiln_attention_prefill(kiln_runtime* runtime,
                                              const kiln_attention_prefill_args* args,
                                              const kiln_call_options* options);

typedef struct kiln_qk_rmsnorm_args {
  size_t size_bytes;
  const DLTensor *q, *k, *q_weight, *k_weight, *q_out, *k_out;
  float q_eps, k_eps;                    /* 0: 1e-6 */
  int weight_bias;                       /* 1: weights are stored less one */
  const DLTensor *positions, *cos, *sin; /* all three for a rope, or none */
  int interleaved;                       /* 0: halves (NeoX) */
  const DLTensor* q_scale;               /* optional: q_out is then e4m3 */
} kiln_qk_rmsnorm_args;
KILN_C_API kiln_status kiln_qk_rmsnorm(kiln_runtime* runtime, const kiln_qk_rmsnorm_args* args,
                                       const kiln_call_options* options);

typedef enum kiln_router_gate {
  KILN_ROUTER_GATE_NONE = 0,
  KILN_ROUTER_GATE_SIGMOID = 1,
  KILN_ROUTER_GATE_SOFTMAX = 2
} kiln_router_gate;

typedef struct kiln_router_gemm_args {
  size_t size_bytes;
  const DLTensor *a, *w, *out;
  const DLTensor* bias;          /* optional */
  int32_t gate;                  /* kiln_router_gate; all below but workspace is the gate's */
  const DLTensor *ids, *weights; /* by a gate alone */
  const DLTensor* correction;    /* optional */
  int32_t n_group, topk_group;   /* 0: 1 */
  int32_t shared_experts;
  int no_renormalize;        /* 0: weights are divided by their sum */
  float scale;               /* 0: 1 */
  float shared_weight;       /* 0: 1 */
  const DLTensor* workspace; /* optional */
} kiln_router_gemm_args;
KILN_C_API kiln_status kiln_router_gemm(kiln_runtime* runtime, const kiln_router_gemm_args* args,
                                        const kiln_call_options* options);
/* The floats of the workspace that serves these arguments best. */
KILN_C_API kiln_status kiln_router_gemm_workspace_floats(const kiln_router_gemm_args* args,
                                                         int64_t* out);

/* ---- Kernels of the caller's own: the same cache, checks and diagnosis ---- */

typedef struct kiln_template {
  size_t size_bytes;
  const char* name;         /* for messages and listings */
  const char* arch;         /* "sm_90a", "cpu", ... */
  const kiln_pair* source;  /* its file name in diagnostics, and its text */
  const kiln_pair* headers; /* all that #include may find */
  size_t headers_count;
  const char* const* name_expressions; /* C++ names of the entry points, one or more */
  size_t name_expressions_count;
  const char* const* options; /* -D, -U and -std= */
  size_t options_count;
} kiln_template;

typedef struct kiln_kernel kiln_kernel;
KILN_C_API kiln_status kiln_kernel_create(kiln_runtime* runtime, const kiln_template* description,
                                          int device, kiln_kernel** out);
/* May follow kiln_runtime_destroy(); no launch may be under way. */
KILN_C_API void kiln_kernel_destroy(kiln_kernel* kernel);

typedef struct kiln_launch {
  size_t size_bytes;
  uint32_t entry;      /* index into name_expressions */
  uint32_t grid[3];    /* 0 counts as 1 */
  uint32_t block[3];   /* 0 counts as 1 */
  uint32_t cluster[3]; /* 0 counts as 1 */
  uint32_t shared_bytes_dynamic;
  int programmatic_dependent_launch;
} kiln_launch;
/* `params`: the kernel's one parameter, copied before this returns. */
KILN_C_API kiln_status kiln_kernel_launch(const kiln_kernel* kernel, const kiln_launch* launch,
                                          const void* params, size_t params_bytes, void* stream);

#ifdef __cplusplus
}
#endif

#endif
