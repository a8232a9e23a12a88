// SPDX-License-Identifier: Apache-2.0
// The C interface, but for the ops (c_ops.cpp).
#include "kiln/c_api.h"

#include <fmt/format.h>

#include "runtime/c_support.h"

using namespace kiln;

struct kiln_runtime {
  std::unique_ptr<Runtime> runtime;
};
struct kiln_prefetch {
  Prefetch prefetch;
};
struct kiln_kernel {
  std::shared_ptr<const Kernel> kernel;
};

namespace kiln::c {
namespace {

thread_local Error last_error{ErrorCode::internal, {}, {}};

// The caller's `options`, or all defaults.
Result<kiln_runtime_options> options_of(const kiln_runtime_options* options) {
  if (!options) return kiln_runtime_options{};
  return read_struct(options, "kiln_runtime_options");
}

EventCallback callback_of(const kiln_runtime_options& options) {
  if (!options.on_event) return {};
  return [callback = options.on_event, context = options.on_event_context](const Event& event) {
    const std::string label(event.label);
    const std::string compiler(event.compiler);
    const std::string instead(event.instead);
    kiln_event out{};
    out.size_bytes = sizeof out;
    out.kind = static_cast<kiln_event_kind>(event.kind);
    out.status = event.error ? status_of(event.error->code) : KILN_OK;
    out.label = label.c_str();
    out.compiler = compiler.c_str();
    out.message = event.error ? event.error->message.c_str() : "";
    out.instead = instead.c_str();
    out.time_ms = event.time_ms;
    callback(&out, context);
  };
}

Result<std::vector<NameValue>> pairs_of(const kiln_pair* pairs, std::size_t count,
                                        const char* what) {
  if (count > 0 && !pairs) return is_null(what);
  std::vector<NameValue> result;
  for (std::size_t i = 0; i < count; ++i) {
    if (!pairs[i].name || !pairs[i].value) return is_null(fmt::format("{}[{}]", what, i));
    result.emplace_back(pairs[i].name, pairs[i].value);
  }
  return result;
}

Result<std::vector<std::string>> words_of(const char* const* words, std::size_t count,
                                          const char* what) {
  if (count > 0 && !words) return is_null(what);
  std::vector<std::string> result;
  for (std::size_t i = 0; i < count; ++i) {
    if (!words[i]) return is_null(fmt::format("{}[{}]", what, i));
    result.emplace_back(words[i]);
  }
  return result;
}

Result<void> create(const kiln_runtime_options* given, kiln_runtime** out) {
  if (!out) return is_null("out");
  KILN_TRY_ASSIGN(const kiln_runtime_options asked, options_of(given));
  KILN_TRY_ASSIGN(const auto settings, pairs_of(asked.settings, asked.settings_count, "settings"));
  KILN_TRY_ASSIGN(Options options, Options::from_environment(settings));
  options.on_event = callback_of(asked);
  KILN_TRY_ASSIGN(auto runtime, Runtime::create(std::move(options)));
  *out = new kiln_runtime{std::move(runtime)};
  return {};
}

Result<KernelRequest> request_of(const kiln_request* given) {
  KILN_TRY_ASSIGN(const kiln_request asked, read_struct(given, "kiln_request"));
  if (!asked.op) return is_null("kiln_request.op");
  KernelRequest request;
  KILN_TRY_ASSIGN(request.op, find_op(asked.op));
  KILN_TRY_ASSIGN(const auto pairs, pairs_of(asked.shape, asked.shape_count, "kiln_request.shape"));
  KILN_TRY_ASSIGN(OpArguments arguments, parse_arguments(*request.op, pairs));
  request.shape = std::move(arguments.shape);
  request.device = asked.device;
  if (asked.arch) {
    KILN_TRY_ASSIGN(request.arch, Arch::parse(asked.arch));
  }
  return request;
}

Result<CompileInput> input_of(const kiln_template* given) {
  KILN_TRY_ASSIGN(const kiln_template asked, read_struct(given, "kiln_template"));
  if (!asked.name) return is_null("kiln_template.name");
  if (!asked.arch) return is_null("kiln_template.arch");
  KILN_TRY_ASSIGN(const auto source, pairs_of(asked.source, 1, "kiln_template.source"));
  KILN_TRY_ASSIGN(const auto headers,
                  pairs_of(asked.headers, asked.headers_count, "kiln_template.headers"));
  KILN_TRY_ASSIGN(Arch arch, Arch::parse(asked.arch));
  CompileInput input{asked.name, asked.name, {}, std::move(arch), {}, {}, {}, {}};
  input.source = {source.front().first, source.front().second};
  for (const auto& [name, text] : headers) input.headers.push_back({name, text});
  KILN_TRY_ASSIGN(input.name_expressions,
                  words_of(asked.name_expressions, asked.name_expressions_count,
                           "kiln_template.name_expressions"));
  KILN_TRY_ASSIGN(input.options,
                  words_of(asked.options, asked.options_count, "kiln_template.options"));
  return input;
}

Dim3 dim_of(const std::uint32_t (&dim)[3]) {
  return {std::max(dim[0], 1U), std::max(dim[1], 1U), std::max(dim[2], 1U)};
}

Result<LaunchStep> step_of(const kiln_launch* given) {
  KILN_TRY_ASSIGN(const kiln_launch asked, read_struct(given, "kiln_launch"));
  LaunchStep step;
  step.entry = asked.entry;
  step.dims.grid = dim_of(asked.grid);
  step.dims.block = dim_of(asked.block);
  step.dims.cluster = dim_of(asked.cluster);
  step.dims.shared_bytes_dynamic = asked.shared_bytes_dynamic;
  step.dims.programmatic_dependent_launch = asked.programmatic_dependent_launch != 0;
  return step;
}

}  // namespace

kiln_status status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return KILN_INVALID_ARGUMENT;
    case ErrorCode::unavailable:
      return KILN_UNAVAILABLE;
    case ErrorCode::compile_failed:
      return KILN_COMPILE_FAILED;
    case ErrorCode::cache_miss:
      return KILN_CACHE_MISS;
    case ErrorCode::cache_failed:
      return KILN_CACHE_FAILED;
    case ErrorCode::driver_failed:
      return KILN_DRIVER_FAILED;
    case ErrorCode::out_of_memory:
      return KILN_OUT_OF_MEMORY;
    case ErrorCode::cancelled:
      return KILN_CANCELLED;
    case ErrorCode::internal:
      break;
  }
  return KILN_INTERNAL;
}

kiln_status remember(Error error) {
  last_error = std::move(error);
  return status_of(last_error.code);
}

tl::unexpected<Error> is_null(std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("{} is null", what));
}

Result<Runtime*> runtime_of(const kiln_runtime* handle) {
  if (!handle) return is_null("the kiln_runtime");
  return handle->runtime.get();
}

}  // namespace kiln::c

using namespace kiln::c;

extern "C" {

uint32_t kiln_abi_version(void) {
  return KILN_ABI_VERSION;
}

const char* kiln_status_name(kiln_status status) {
  static const char* const kNames[] = {
      "ok",           "invalid_argument", "unavailable",   "compile_failed", "cache_miss",
      "cache_failed", "driver_failed",    "out_of_memory", "internal"};
  const auto index = static_cast<std::size_t>(status);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

const char* kiln_last_error(void) {
  return last_error.message.c_str();
}
const char* kiln_last_log(void) {
  return last_error.log.c_str();
}

kiln_status kiln_runtime_create(const kiln_runtime_options* options, kiln_runtime** out) {
  return guard([&] { return create(options, out); });
}
void kiln_runtime_destroy(kiln_runtime* runtime) {
  delete runtime;
}

size_t kiln_counter_count(void) {
  return counter_fields().size();
}
const char* kiln_counter_name(size_t index) {
  return index < counter_fields().size() ? counter_fields()[index].name.data() : nullptr;
}
kiln_status kiln_counters(const kiln_runtime* handle, uint64_t* values, size_t count) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(const Runtime* const runtime, runtime_of(handle));
    if (count > 0 && !values) return is_null("values");
    if (count > counter_fields().size()) {
      return fail(ErrorCode::invalid_argument, fmt::format("{} counters asked for; there are {}",
                                                           count, counter_fields().size()));
    }
    const Counters counters = runtime->counters();
    for (size_t i = 0; i < count; ++i) values[i] = counters.*counter_fields()[i].value;
    return {};
  });
}

kiln_status kiln_prefetch_start(kiln_runtime* handle, const kiln_request* request,
                                kiln_prefetch** out) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(Runtime* const runtime, runtime_of(handle));
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const KernelRequest asked, request_of(request));
    KILN_TRY_ASSIGN(Prefetch prefetch, runtime->prefetch(asked));
    *out = new kiln_prefetch{std::move(prefetch)};
    return {};
  });
}
kiln_status kiln_prefetch_done(const kiln_prefetch* prefetch, int* out) {
  return guard([&]() -> Result<void> {
    if (!prefetch) return is_null("the kiln_prefetch");
    if (!out) return is_null("out");
    *out = prefetch->prefetch.done() ? 1 : 0;
    return {};
  });
}
kiln_status kiln_prefetch_wait(const kiln_prefetch* prefetch) {
  return guard([&]() -> Result<void> {
    if (!prefetch) return is_null("the kiln_prefetch");
    return prefetch->prefetch.wait();
  });
}
void kiln_prefetch_destroy(kiln_prefetch* prefetch) {
  delete prefetch;
}

kiln_status kiln_ready(const kiln_runtime* handle, const kiln_request* request, int* out) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(const Runtime* const runtime, runtime_of(handle));
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const KernelRequest asked, request_of(request));
    KILN_TRY_ASSIGN(const bool ready, runtime->ready(asked));
    *out = ready ? 1 : 0;
    return {};
  });
}
kiln_status kiln_load(kiln_runtime* handle, const kiln_request* request) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(Runtime* const runtime, runtime_of(handle));
    KILN_TRY_ASSIGN(const KernelRequest asked, request_of(request));
    return runtime->load(asked);
  });
}
kiln_status kiln_unload(kiln_runtime* handle, const kiln_request* request, int* out) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(Runtime* const runtime, runtime_of(handle));
    KILN_TRY_ASSIGN(const KernelRequest asked, request_of(request));
    KILN_TRY_ASSIGN(const int count, runtime->unload(asked));
    if (out) *out = count;
    return {};
  });
}

kiln_status kiln_kernel_create(kiln_runtime* handle, const kiln_template* description, int device,
                               kiln_kernel** out) {
  return guard([&]() -> Result<void> {
    KILN_TRY_ASSIGN(Runtime* const runtime, runtime_of(handle));
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const CompileInput input, input_of(description));
    KILN_TRY_ASSIGN(auto kernel, runtime->kernel(input, device));
    *out = new kiln_kernel{std::move(kernel)};
    return {};
  });
}
void kiln_kernel_destroy(kiln_kernel* kernel) {
  delete kernel;
}

kiln_status kiln_kernel_launch(const kiln_kernel* kernel, const kiln_launch* launch,
                               const void* params, size_t params_bytes, void* stream) {
  return guard([&]() -> Result<void> {
    if (!kernel) return is_null("the kiln_kernel");
    KILN_TRY_ASSIGN(const LaunchStep step, step_of(launch));
    if (!params) return is_null("params");
    return kernel->kernel->launch({step}, params, params_bytes, {stream});
  });
}
}
