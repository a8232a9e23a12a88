// SPDX-License-Identifier: Apache-2.0
#include "tools/session.h"

#include <fmt/format.h>

#include <cstdio>

#include "tools/page.h"

namespace kiln::cli {

ExitCode exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return ExitCode::usage;
    case ErrorCode::cache_miss:
      return ExitCode::cache_miss;
    case ErrorCode::unavailable:
      return ExitCode::unavailable;
    case ErrorCode::compile_failed:
    case ErrorCode::cache_failed:
    case ErrorCode::driver_failed:
    case ErrorCode::out_of_memory:
    case ErrorCode::cancelled:
    case ErrorCode::internal:
      break;
  }
  return ExitCode::failed;
}

Result<Options*> Session::options() {
  if (!options_) {
    KILN_TRY_ASSIGN(options_, Options::from_environment());
  }
  return &*options_;
}

Result<Runtime*> Session::runtime() {
  if (!runtime_) {
    KILN_TRY_ASSIGN(Options* const given, options());
    KILN_TRY_ASSIGN(runtime_, Runtime::create(*given));
  }
  return runtime_.get();
}

Result<Store*> Session::store() {
  KILN_TRY_ASSIGN(Runtime* const opened, runtime());
  auto found = opened->store();
  if (found) return *found;
  Error error = std::move(found).error();
  error.code = ErrorCode::cache_failed;
  return kiln::fail(std::move(error));
}

ExitCode Session::finish(Json result, ExitCode code) {
  if (json) {
    if (runtime_) result["stats"] = to_json(runtime_->counters());
    fmt::print("{}\n", result.dump(2, ' ', false, Json::error_handler_t::replace));
  }
  return code;
}

ExitCode Session::fail(const Error& error, Json result) {
  fmt::print(stderr, "{} {}\n", painted(Colour::red, "jitctl:", stderr), error.message);
  if (!error.log.empty()) fmt::print(stderr, "{}\n", error.log);
  result["error"] = {{"code", name_of(error.code)}, {"message", error.message}, {"log", error.log}};
  return finish(std::move(result), exit_code_of(error.code));
}

Json to_json(const Counters& counters) {
  Json object = Json::object();
  for (const CounterField& field : counter_fields()) {
    object[std::string(field.name)] = counters.*field.value;
  }
  return object;
}

Json to_json(const KernelResources& resources) {
  Json object = Json::object();
  const auto add = [&](const char* name, const std::optional<int>& value) {
    if (value) object[name] = *value;
  };
  add("registers", resources.registers);
  add("shared_bytes_static", resources.shared_bytes_static);
  add("stack_bytes", resources.stack_bytes);
  add("spill_store_bytes", resources.spill_store_bytes);
  add("spill_load_bytes", resources.spill_load_bytes);
  add("threads_per_block_max", resources.threads_per_block_max);
  return object;
}

Json to_json(const Shape& shape) {
  Json object = Json::object();
  for (const Shape::Param& param : shape.params()) {
    std::visit([&](const auto& value) { object[param.name] = value; }, param.value);
  }
  return object;
}

}  // namespace kiln::cli
