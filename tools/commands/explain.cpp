// SPDX-License-Identifier: Apache-2.0
// jitctl explain: why a request would hit or miss the cache.
#include <fmt/format.h>

#include "tools/command.h"
#include "tools/explanation.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

// As Runtime::kernel() looks: for the arch itself, then for the older ones that it can run. The
// answer for the arch itself stands where there is none.
Result<Explanation> explain_one(Runtime& runtime, const OpRequest& request,
                                const Implementation& implementation) {
  const Shape& shape = request.arguments.shape;
  std::optional<Explanation> first;
  for (const Arch& arch : request.arch.compatible()) {
    if (!can_build(implementation, shape, arch)) continue;
    KILN_TRY_ASSIGN(const CompileInput input, make_input(*request.op, implementation, shape, arch));
    KILN_TRY_ASSIGN(Explanation explanation, runtime.explain(input));
    if (explanation.hit) return explanation;
    if (!first) first = std::move(explanation);
  }
  if (first) return std::move(*first);
  return fail(ErrorCode::internal, fmt::format("{} is compatible with no arch at all, not even "
                                               "itself",
                                               request.arch.name()));
}

ExitCode explain(Session& session, const RequestWords& words) {
  KILN_CLI_TRY_ASSIGN(const OpRequest request, session, parse_request(words, CallParams::refused));
  KILN_CLI_TRY_ASSIGN(Options* const options, session, session.options());
  // Whoever only asks changes nothing.
  if (options->cache_policy == CachePolicy::read_write) {
    options->cache_policy = CachePolicy::read_only;
  }
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  const Shape& shape = request.arguments.shape;
  // Says why when there is none for this shape and arch.
  KILN_CLI_TRY_ASSIGN(const Selection selection, session,
                      runtime->select(*request.op, shape, request.arch));
  Json kernels = Json::array();
  for (const Implementation& implementation : selection.op->implementations) {
    if (!can_build(implementation, shape, request.arch)) continue;
    KILN_CLI_TRY_ASSIGN(const Explanation explanation, session,
                        explain_one(*runtime, request, implementation));
    if (!session.json) print(explanation);
    kernels.push_back(to_json(explanation));
  }
  return session.finish({{"op", request.op->name},
                         {"shape", to_json(shape)},
                         {"arch", request.arch.name()},
                         {"kernels", std::move(kernels)}});
}

}  // namespace

Action add_explain(CLI::App& app, Session& session) {
  auto words = std::make_shared<RequestWords>();
  words->add_to(app);
  return [words, &session] { return explain(session, *words); };
}

}  // namespace kiln::cli
