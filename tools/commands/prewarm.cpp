// SPDX-License-Identifier: Apache-2.0
// jitctl prewarm: compile what a model, a plan or an op needs into the cache, or check that it is
// there.
#include <fmt/format.h>

#include "cache/store.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/page.h"
#include "tools/prewarm/prepare.h"
#include "tools/prewarm/report.h"

namespace kiln::cli {
namespace {

struct CommandWords : PrewarmWords {
  int page_size = 16;
  int jobs = 0;
  bool dry_run = false;
  bool seal = false;
};

ExitCode dry_run(Session& session, const Work& work) {
  if (!session.json) {
    for (const Item& item : work.items) fmt::print("{}\n", folded(item.label, 4));
    print_notes(work);
  }
  return session.finish(to_json(work, {}));
}

// Under the policy `locked` a miss is an error, so that there is nothing to do but to check.
bool only_checks(const CommandWords& words, const Options& options) {
  return words.check || (options.cache_policy == CachePolicy::locked && !words.dry_run);
}

Result<void> check_words(const CommandWords& words, const Options& options) {
  const int ways = !words.config.empty() + !words.plans.empty() + !words.op.empty();
  if (ways != 1) {
    return fail(ErrorCode::invalid_argument,
                "prewarm wants either --config FILE, --plan FILE or OP name=value...");
  }
  if (words.check || words.dry_run || options.cache_policy == CachePolicy::read_write) return {};
  return fail(ErrorCode::invalid_argument,
              "prewarm stores kernels, and KILN_CACHE_POLICY does not allow it; use read_write, or "
              "--check to look only");
}

ExitCode prewarm(Session& session, CommandWords words) {
  KILN_CLI_TRY_ASSIGN(Options* const options, session, session.options());
  words.check = only_checks(words, *options);
  if (const auto checked = check_words(words, *options); !checked) {
    return session.fail(checked.error());
  }
  if (words.check) options->cache_policy = CachePolicy::locked;
  if (words.jobs > 0) options->jobs = words.jobs;
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  KILN_CLI_TRY_ASSIGN(const Work work, session, collect_work(words, runtime->compilers()));
  if (words.dry_run) return dry_run(session, work);
  if (const auto store = session.store(); !store && !words.check)
    return session.fail(store.error());
  std::vector<Outcome> outcomes;
  JobLimit limit(options->jobs, free_memory_bytes);
  bool interrupted = false;
  {
    PrewarmProgress progress(session.json ? Progress::silent : Progress::shown, work.items.size());
    const Interrupt interrupt({[&] { progress.stopping(); }, [&] { progress.tick(); }});
    outcomes = prepare_all(*runtime, words, work, limit, progress, interrupt.token());
    interrupted = interrupt.requested();
  }
  if (words.seal && !words.check && !interrupted) {
    KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
    if (const auto sealed = store->seal(); !sealed) return session.fail(sealed.error());
  }
  if (!session.json) print_summary(work, outcomes, runtime->counters(), limit.seen());
  Json result = to_json(work, outcomes);
  result["jobs"] = {{"asked", options->jobs},
                    {"most_at_once", limit.seen().most_at_once},
                    {"memory_bytes_max", limit.seen().memory_bytes_max}};
  result["interrupted"] = interrupted;
  return session.finish(std::move(result), exit_code_of(work, outcomes));
}

void add_model_options(CLI::App& app, CommandWords& words) {
  app.add_option("--config", words.config,
                 "A model's Hugging Face config.json: " + known_model_types());
  app.add_option("--tp", words.settings.tensor_parallel, "Ranks that share the model's heads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--state", words.settings.state_type, "Type of KDA and GDN states: f32, bf16")
      ->capture_default_str();
  app.add_option("--kv", words.settings.kv_type,
                 "Type of the KV cache: auto (the activations' type), bf16, f16, e4m3, e5m2")
      ->capture_default_str();
  app.add_option("--page-size", words.page_size,
                 "Tokens of a page of the KV cache; one kernel serves every size")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
}

}  // namespace

Action add_prewarm(CLI::App& app, Session& session) {
  auto words = std::make_shared<CommandWords>();
  app.add_option("OP", words->op, "An op, instead of --config or --plan");
  app.add_option("PARAM", words->params, "name=value of the op's shape");
  add_model_options(app, *words);
  app.add_option("--plan", words->plans,
                 "What runs with KILN_RECORD_PLAN=FILE asked for; several files: by commas");
  app.add_option("--arch", words->archs,
                 "Archs, separated by commas: sm_90a,gfx90a,cpu; default: the plan's, else cpu");
  app.add_option("--shard", words->shard,
                 "i/n: this part of n, for n machines with the same words");
  app.add_option("--jobs", words->jobs, "Compiles at a time; default KILN_JOBS, else the cores")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--check", words->check, "Compile nothing; exit 3 and name what is missing");
  app.add_flag("--dry-run", words->dry_run, "List the kernels and stop");
  app.add_flag("--seal", words->seal, "Leave the cache fit to be one of KILN_CACHE_LAYERS");
  app.add_flag("--skip-unavailable", words->skip_unavailable,
               "Go on without the archs that no compiler here can do");
  return [words, &session] { return prewarm(session, *words); };
}

}  // namespace kiln::cli
