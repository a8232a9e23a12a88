// SPDX-License-Identifier: Apache-2.0
// jitctl doctor: what works on this machine, what does not, and how to get it.
#include <fmt/format.h>

#include "cache/store.h"
#include "runtime/reference/trial.h"
#include "tools/command.h"
#include "tools/page.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

// The op and shape that is compiled and run on every usable target: small, and it uses everything.
constexpr const char* kProbeOp = "kda_decode";
const std::vector<std::string> kProbeParams = {"H=2", "HV=4", "batch=3"};
// What is compiled to see that a compiler works, where it does not say which archs it knows.
constexpr const char* kProbeArchs[] = {"sm_90a", "x86-64-v3", "gfx90a"};

void print_attempts(const std::vector<LibraryAttempt>& attempts) {
  for (const LibraryAttempt& attempt : attempts) {
    fmt::print("    tried       {}\n", folded(attempt.place + ": " + attempt.outcome, 16));
  }
}

Json to_json(const std::vector<LibraryAttempt>& attempts) {
  Json array = Json::array();
  for (const LibraryAttempt& attempt : attempts) {
    array.push_back({{"place", attempt.place}, {"outcome", attempt.outcome}});
  }
  return array;
}

// Compiles the probe for the first probe arch that `compiler` can do.
Json compile_probe(Compiler& compiler, bool print) {
  const Op* const op = *find_op(kProbeOp);
  for (const char* name : kProbeArchs) {
    const Arch arch = *Arch::parse(name);
    if (!compiler.can_compile(arch)) continue;
    const auto arguments = parse_params(*op, kProbeParams, CallParams::allowed);
    for (const Implementation& implementation : op->implementations) {
      if (!can_build(implementation, arguments->shape, arch)) continue;
      const auto input = make_input(*op, implementation, arguments->shape, arch);
      const auto artifact =
          input ? compiler.compile(*input) : Result<Artifact>(fail(input.error()));
      const std::string outcome =
          artifact ? fmt::format("ok, {} bytes in {:.0f} ms", artifact->code.size(),
                                 artifact->compile_time_ms)
                   : artifact.error().message;
      if (print) {
        fmt::print("    compiles    {}\n",
                   folded(fmt::format("{} for {}: {}", implementation.name, name, outcome), 16));
      }
      return {{"arch", name}, {"ok", artifact.has_value()}, {"outcome", outcome}};
    }
  }
  return nullptr;
}

Json check_compiler(Compiler& compiler, bool print) {
  std::vector<LibraryAttempt> attempts;
  const auto described = compiler.describe(&attempts);
  Json object = {{"name", compiler.name()}, {"ok", described.has_value()}};
  if (!described) {
    object["reason"] = described.error().message;
    object["attempts"] = to_json(attempts);
    if (print) {
      fmt::print("  {:<13} {} {}\n", compiler.name(), painted(Colour::yellow, "no:", stdout),
                 folded(described.error().message, 20));
      print_attempts(attempts);
    }
    return object;
  }
  object["version"] = described->version;
  object["libraries"] = described->libraries;
  object["found_by"] = described->found_by;
  object["archs"] = described->archs;
  object["limitations"] = described->limitations;
  object["runs_in"] = described->runs_in;
  object["attempts"] = to_json(described->attempts);
  if (print) {
    fmt::print("  {:<13} {}\n    found by    {}\n", compiler.name(), folded(described->version, 16),
               folded(described->found_by, 16));
    for (const std::string& library : described->libraries)
      fmt::print("    library     {}\n", library);
    fmt::print("    archs       {}\n",
               folded(fmt::format("{}", fmt::join(described->archs, " ")), 16));
    fmt::print("    runs in     {}\n", described->runs_in);
    for (const std::string& limit : described->limitations)
      fmt::print("    without     {}\n", folded(limit, 16));
    print_attempts(described->attempts);
  }
  object["probe"] = compile_probe(compiler, print);
  return object;
}

Result<std::vector<OutputError>> run_probe(Runtime& runtime, const Arch& arch) {
  KILN_TRY_ASSIGN(const Op* const op, find_op(kProbeOp));
  KILN_TRY_ASSIGN(const OpArguments arguments,
                  parse_params(*op, kProbeParams, CallParams::allowed));
  KILN_TRY_ASSIGN(const auto trial, make_trial(runtime, *op, arguments, arch, 1));
  KILN_TRY(trial->reset());
  KILN_TRY(trial->launch());
  return trial->compare();
}

Json check_device(Runtime& runtime, const DeviceInfo& device, bool print) {
  const auto errors = run_probe(runtime, device.arch);
  bool right = errors.has_value();
  double worst = 0;
  if (errors) {
    for (const OutputError& error : *errors) {
      right = right && error.passed();
      worst = std::max(worst, error.bound_ratio);
    }
  }
  const std::string outcome = !errors
                                  ? errors.error().message
                                  : fmt::format("{}: {} against fp64, {:.2f} of the allowed error",
                                                kProbeOp, right ? "right" : "WRONG", worst);
  if (print) {
    fmt::print("  {:<13} {} ({})\n    runs        {}\n", device.arch.name(), device.name,
               device.index, folded(outcome, 16));
  }
  return {
      {"device", device.name}, {"arch", device.arch.name()}, {"ok", right}, {"outcome", outcome}};
}

Json check_cache(Session& session, bool print) {
  const auto store = session.store();
  const std::string where = store ? (*store)->file().string() : store.error().message;
  if (print) fmt::print("cache\n  {}\n", folded((store ? "" : "no: ") + where, 2));
  Json layers = Json::array();
  const auto add_layer = [&](bool ok, const std::string& what) {
    if (print) fmt::print("  layer         {}\n", folded((ok ? "" : "no: ") + what, 16));
    layers.push_back({{"ok", ok}, {"where", what}});
  };
  const auto runtime = session.runtime();
  if (runtime) {
    for (const Store* layer : (*runtime)->layers()) add_layer(true, layer->file().string());
    for (const Error& error : (*runtime)->refused_layers()) add_layer(false, error.message);
  }
  return {{"ok", store.has_value()}, {"where", where}, {"layers", std::move(layers)}};
}

// Fails only when something that is here does not work; what is absent is no failure.
ExitCode doctor(Session& session) {
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  const bool print = !session.json;
  bool healthy = true;
  Json result = {{"version", KILN_VERSION}};
  if (print) fmt::print("kiln {}\ncompilers\n", KILN_VERSION);
  for (Compiler* compiler : runtime->compilers().all()) {
    Json object = check_compiler(*compiler, print);
    if (object.contains("probe") && object["probe"].is_object()) {
      healthy = healthy && object["probe"]["ok"].get<bool>();
    }
    result["compilers"].push_back(std::move(object));
  }
  if (print) fmt::print("devices\n");
  for (Driver* driver : runtime->drivers()) {
    const auto devices = driver->devices();
    if (!devices) {
      if (print) {
        fmt::print("  {:<13} {} {}\n", driver->name(), painted(Colour::yellow, "no:", stdout),
                   folded(devices.error().message, 20));
      }
      result["devices"].push_back(
          {{"driver", driver->name()}, {"reason", devices.error().message}});
      continue;
    }
    for (const DeviceInfo& device : *devices) {
      Json object = check_device(*runtime, device, print);
      healthy = healthy && object["ok"].get<bool>();
      result["devices"].push_back(std::move(object));
    }
  }
  result["cache"] = check_cache(session, print);
  result["healthy"] = healthy;
  return session.finish(std::move(result), healthy ? ExitCode::done : ExitCode::failed);
}

}  // namespace

Action add_doctor(CLI::App&, Session& session) {
  return [&session] { return doctor(session); };
}

}  // namespace kiln::cli
