// SPDX-License-Identifier: Apache-2.0
// Session: what every subcommand shares: options, one Runtime, how results and errors are printed.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "kiln/runtime.h"

namespace kiln::cli {

using Json = nlohmann::ordered_json;

enum class ExitCode : int {
  done = 0,
  failed = 1,
  usage = 2,
  cache_miss = 3,   // under --check or policy `locked`
  unavailable = 4,  // a named arch, and --skip-unavailable was not given
};
ExitCode exit_code_of(ErrorCode code);

class Session {
 public:
  // Filled by the global options of the command line before a command runs.
  bool json = false;

  // Reads the environment on first use; a command may change the options before runtime().
  Result<Options*> options();
  Result<Runtime*> runtime();
  // The writable store, for commands that are about it. Errors: cache_failed, also when policy or a
  // missing home say that there is none.
  Result<Store*> store();

  // Prints `result`: with --json the object with "stats" at its end, else nothing.
  ExitCode finish(Json result, ExitCode code = ExitCode::done);
  // Prints one line to stderr (and the compiler's log below it); with --json also an object.
  ExitCode fail(const Error& error, Json result = Json::object());

 private:
  std::optional<Options> options_;
  std::unique_ptr<Runtime> runtime_;
};

Json to_json(const Counters& counters);
Json to_json(const KernelResources& resources);
Json to_json(const Shape& shape);

}  // namespace kiln::cli

// For commands: on an error prints it and returns its exit code.
#define KILN_CLI_TRY_ASSIGN(target, session, expr) \
  KILN_CLI_TRY_ASSIGN_INNER(KILN_CONCAT(kiln_result_, __LINE__), target, session, expr)
#define KILN_CLI_TRY_ASSIGN_INNER(result, target, session, expr) \
  auto result = (expr);                                          \
  if (!result) return (session).fail(result.error());            \
  target = std::move(*result)
