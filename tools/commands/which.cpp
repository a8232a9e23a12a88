// SPDX-License-Identifier: Apache-2.0
// jitctl which: who would serve a request, and why the ones before it were passed over.
#include <fmt/format.h>

#include "tools/command.h"
#include "tools/page.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

// Asks the compilers of the chain in order; the first that can is the answer.
Json ask_compilers(const Compilers& compilers, const Arch& arch, bool print) {
  Json asked = Json::array();
  bool chosen = false;
  for (Compiler* compiler : compilers.chain(arch)) {
    const Answer can = compiler->can_compile(arch);
    const bool serves = can && !chosen;
    chosen = chosen || serves;
    const std::string verdict = !can                 ? can.reason()
                                : !serves            ? "not needed"
                                : can.note().empty() ? "compiles it"
                                                     : "compiles it: " + can.note();
    if (print)
      fmt::print("compiler        {}: {}\n", compiler->name(),
                 folded(verdict, 18 + compiler->name().size()));
    asked.push_back({{"compiler", compiler->name()}, {"serves", serves}, {"verdict", verdict}});
  }
  if (asked.empty() && print) {
    fmt::print("compiler        none: this build has no compiler for {} code\n",
               name_of(arch.family()));
  }
  return asked;
}

ExitCode which(Session& session, const RequestWords& words) {
  KILN_CLI_TRY_ASSIGN(const OpRequest request, session, parse_request(words, CallParams::refused));
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  const Shape& shape = request.arguments.shape;
  KILN_CLI_TRY_ASSIGN(const Selection selection, session,
                      runtime->select(*request.op, shape, request.arch));
  Json passed = Json::array();
  for (const auto& [name, reason] : selection.passed_over) {
    passed.push_back({{"implementation", name}, {"reason", reason}});
  }
  // Who serves where the kernel of the one before cannot be had, or a call is not for it.
  Json next = Json::array();
  bool behind = false;
  for (const Rung& rung : runtime->chain(*request.op, shape, request.arch)) {
    if (behind && rung.can_serve) next.push_back(rung.implementation->name);
    behind = behind || rung.implementation == selection.implementation;
  }
  if (!session.json) {
    fmt::print("op              {}\narch            {}\nimplementation  {}\n",
               folded(request.op->name + " " + shape.text(), 16), request.arch.name(),
               selection.implementation->name);
    for (const auto& [name, reason] : selection.passed_over) {
      fmt::print("passed over     {}\n", folded(name + ": " + reason, 16));
    }
    for (const Json& name : next) fmt::print("falls back to   {}\n", name.get<std::string>());
  }
  Json compilers = ask_compilers(runtime->compilers(), request.arch, !session.json);
  return session.finish({{"op", request.op->name},
                         {"shape", to_json(shape)},
                         {"arch", request.arch.name()},
                         {"implementation", selection.implementation->name},
                         {"passed_over", std::move(passed)},
                         {"falls_back_to", std::move(next)},
                         {"compilers", std::move(compilers)}});
}

}  // namespace

Action add_which(CLI::App& app, Session& session) {
  auto words = std::make_shared<RequestWords>();
  words->add_to(app);
  return [words, &session] { return which(session, *words); };
}

}  // namespace kiln::cli
