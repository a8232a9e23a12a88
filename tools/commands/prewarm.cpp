// SPDX-License-Identifier: Apache-2.0
// jitctl prewarm: compile what a model or an op needs into the cache, or check that it is there.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <numeric>
#include <thread>

#include "cache/store.h"
#include "jit/worker/process_memory.h"
#include "tools/command.h"
#include "tools/explanation.h"
#include "tools/job_limit.h"
#include "tools/line_printer.h"
#include "tools/models/model_config.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

struct PrewarmWords {
  std::string config;
  ModelSettings settings;
  int page_size = 16;
  std::string op;
  std::vector<std::string> params;
  std::string archs = "cpu";
  int jobs = 0;
  bool check = false;
  bool dry_run = false;
  bool skip_unavailable = false;
  bool seal = false;
};

// One kernel to have.
struct Item {
  CompileInput input;
  std::string label;
};

// What is asked for, and what cannot be had.
struct Work {
  std::vector<Item> items;
  std::vector<std::pair<std::string, std::string>> unavailable_archs;  // arch, why
  std::vector<std::pair<std::string, std::string>> without_op;         // op, what it is needed for
  std::vector<std::pair<std::string, std::string>> not_built;          // request, why
};

struct Outcome {
  enum class Kind { present, compiled, missing, skipped, failed };
  Kind kind = Kind::failed;
  Error error;
  double compile_time_ms = 0;
  std::optional<Explanation> why_missing;
  std::uint64_t memory_bytes = 0;  // of the worker that compiled; 0: none did
};

constexpr const char* word_of(Outcome::Kind kind) {
  switch (kind) {
    case Outcome::Kind::present:
      return "present";
    case Outcome::Kind::compiled:
      return "compiled";
    case Outcome::Kind::missing:
      return "missing";
    case Outcome::Kind::skipped:
      return "skipped";
    case Outcome::Kind::failed:
      return "failed";
  }
  return "";
}

struct OpShape {
  const Op* op;
  Shape shape;
};

Result<std::vector<OpShape>> wanted_shapes(const PrewarmWords& words, Work& work) {
  std::vector<OpShape> wanted;
  if (words.config.empty()) {
    KILN_TRY_ASSIGN(const Op* const op, find_op(words.op));
    KILN_TRY_ASSIGN(OpArguments arguments, parse_params(*op, words.params, CallParams::refused));
    wanted.push_back({op, std::move(arguments.shape)});
    return wanted;
  }
  KILN_TRY_ASSIGN(const ModelNeeds needs, read_model_config(words.config, words.settings));
  for (const ModelNeed& need : needs.ops) {
    const auto op = find_op(need.op);
    if (!op) {
      work.without_op.emplace_back(need.op, need.used_for);
      continue;
    }
    KILN_TRY_ASSIGN(OpArguments arguments, parse_arguments(**op, need.shape));
    wanted.push_back({*op, std::move(arguments.shape)});
  }
  return wanted;
}

// Why no compiler here can make code for `arch`; nothing if one can.
std::optional<std::string> why_unavailable(const Compilers& compilers, const Arch& arch) {
  std::string reasons;
  for (Compiler* compiler : compilers.chain(arch)) {
    const Answer can = compiler->can_compile(arch);
    if (can) return std::nullopt;
    reasons += (reasons.empty() ? "" : "; ") + can.reason();
  }
  if (!reasons.empty()) return reasons;
  return fmt::format("this build has no compiler for {} code", name_of(arch.family()));
}

Result<void> add_items(Work& work, const OpShape& wanted, const Arch& arch) {
  std::string reasons;
  std::size_t added = 0;
  for (const Implementation& implementation : wanted.op->implementations) {
    if (const Answer can = can_build(implementation, wanted.shape, arch); !can) {
      reasons +=
          fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", implementation.name, can.reason());
      continue;
    }
    KILN_TRY_ASSIGN(CompileInput input, make_input(*wanted.op, implementation, wanted.shape, arch));
    std::string label = input.label();
    work.items.push_back({std::move(input), std::move(label)});
    ++added;
  }
  if (added == 0) {
    work.not_built.emplace_back(
        fmt::format("{} {} {}", wanted.op->name, wanted.shape.text(), arch.name()), reasons);
  }
  return {};
}

Result<Work> plan_work(const PrewarmWords& words, const Compilers& compilers) {
  Work work;
  KILN_TRY_ASSIGN(const std::vector<Arch> archs, parse_archs(words.archs));
  KILN_TRY_ASSIGN(const std::vector<OpShape> wanted, wanted_shapes(words, work));
  for (const Arch& arch : archs) {
    // A check asks the cache, which may hold what this machine could not compile.
    const auto why = words.check ? std::nullopt : why_unavailable(compilers, arch);
    if (why && !words.skip_unavailable) {
      return fail(
          ErrorCode::unavailable,
          fmt::format("arch {}: {} (--skip-unavailable goes on without it)", arch.name(), *why));
    }
    if (why) {
      work.unavailable_archs.emplace_back(arch.name(), *why);
      continue;
    }
    for (const OpShape& one : wanted) KILN_TRY(add_items(work, one, arch));
  }
  return work;
}

Outcome prepare_one(Runtime& runtime, const PrewarmWords& words, const Item& item) {
  Outcome outcome;
  auto prepared = runtime.prepare(item.input);
  if (!prepared) {
    outcome.error = prepared.error();
    const bool miss = outcome.error.code == ErrorCode::cache_miss;
    outcome.kind = miss ? Outcome::Kind::missing : Outcome::Kind::failed;
    if (miss && words.skip_unavailable) {
      if (const auto why = why_unavailable(runtime.compilers(), item.input.arch)) {
        outcome.kind = Outcome::Kind::skipped;
        outcome.error.message = *why;
      }
    }
    if (outcome.kind == Outcome::Kind::missing) {
      if (auto why = runtime.explain(item.input)) outcome.why_missing = std::move(*why);
    }
    return outcome;
  }
  outcome.kind =
      prepared->tier == Tier::compiled ? Outcome::Kind::compiled : Outcome::Kind::present;
  outcome.compile_time_ms = prepared->artifact->compile_time_ms;
  outcome.memory_bytes = prepared->artifact->memory_bytes_peak;
  if (prepared->store_error) {  // storing is what prewarm is for
    outcome.kind = Outcome::Kind::failed;
    outcome.error = *prepared->store_error;
  }
  return outcome;
}

// Threads of this process share its memory, so what one compile takes is their part of what came
// upon it.
class OwnMemory {
 public:
  OwnMemory() : before_bytes_(peak_bytes()) {}
  std::uint64_t of_one(int at_once) const {
    return (peak_bytes() - before_bytes_) / static_cast<std::uint64_t>(std::max(1, at_once));
  }

 private:
  static std::uint64_t peak_bytes() {
    const auto memory = memory_of(getpid());
    return memory ? memory->peak_bytes : 0;
  }
  const std::uint64_t before_bytes_;
};

// The indices of the items, those that probably take longest first, so that no job is left alone
// with one of them in the end: by their entry points, then by the text that they are made of.
std::vector<std::size_t> longest_first(const std::vector<Item>& items) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto effort = [&](std::size_t i) {
    const CompileInput& input = items[i].input;
    return std::pair(input.name_expressions.size(), input.source.text.size());
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return effort(a) > effort(b); });
  return order;
}

std::vector<Outcome> prepare_all(Runtime& runtime, const PrewarmWords& words, const Work& work,
                                 JobLimit& limit, LinePrinter& printer) {
  const OwnMemory own_memory;
  const std::vector<std::size_t> order = longest_first(work.items);
  std::vector<Outcome> outcomes(work.items.size());
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> done{0};
  const auto serve = [&] {
    for (std::size_t turn = next++; turn < order.size(); turn = next++) {
      const std::size_t i = order[turn];
      limit.enter();
      outcomes[i] = prepare_one(runtime, words, work.items[i]);
      const Outcome& outcome = outcomes[i];
      const bool here = outcome.kind == Outcome::Kind::compiled && outcome.memory_bytes == 0;
      limit.leave(here ? own_memory.of_one(limit.seen().most_at_once) : outcome.memory_bytes);
      const std::string time = outcome.kind == Outcome::Kind::compiled
                                   ? fmt::format(" in {:.0f} ms", outcome.compile_time_ms)
                                   : "";
      printer.update(fmt::format("[{}/{}] {}{} {}", ++done, work.items.size(),
                                 word_of(outcome.kind), time, work.items[i].label));
    }
  };
  std::vector<std::thread> threads;
  const std::size_t count =
      std::min<std::size_t>(static_cast<std::size_t>(limit.jobs_max()), work.items.size());
  for (std::size_t i = 1; i < count; ++i) threads.emplace_back(serve);
  serve();
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

ExitCode exit_code_of(const Work& work, const std::vector<Outcome>& outcomes) {
  const auto any = [&](Outcome::Kind kind) {
    return std::any_of(outcomes.begin(), outcomes.end(),
                       [&](const Outcome& outcome) { return outcome.kind == kind; });
  };
  if (any(Outcome::Kind::failed)) return ExitCode::failed;
  if (any(Outcome::Kind::missing)) return ExitCode::cache_miss;
  if (!work.not_built.empty()) return ExitCode::unavailable;
  return ExitCode::done;
}

void print_notes(const Work& work) {
  for (const auto& [arch, why] : work.unavailable_archs) fmt::print("skipped {}: {}\n", arch, why);
  for (const auto& [what, why] : work.not_built) fmt::print("not built: {}: {}\n", what, why);
  for (const auto& [op, use] : work.without_op) {
    fmt::print("no op yet: {} ({})\n", op, use);
  }
}

void print_summary(const Work& work, const std::vector<Outcome>& outcomes, const Counters& counts,
                   const JobLimit::Seen& jobs) {
  std::map<std::string, int> totals;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    ++totals[word_of(outcome.kind)];
    if (outcome.error.message.empty()) continue;
    fmt::print("{}: {}: {}\n", word_of(outcome.kind), work.items[i].label, outcome.error.message);
    if (!outcome.error.log.empty()) fmt::print("{}\n", outcome.error.log);
  }
  print_notes(work);
  fmt::print("{} kernels:", outcomes.size());
  for (const auto& [word, count] : totals) fmt::print(" {} {},", count, word);
  fmt::print(" {} compiles by this process, up to {} at a time", counts.compiles,
             jobs.most_at_once);
  if (jobs.memory_bytes_max) fmt::print(", {} MiB each", jobs.memory_bytes_max >> 20);
  fmt::print("\n");
}

Json to_json(const Work& work, const std::vector<Outcome>& outcomes) {
  const auto pairs = [](const auto& list, const char* first, const char* second) {
    Json array = Json::array();
    for (const auto& [a, b] : list) array.push_back({{first, a}, {second, b}});
    return array;
  };
  Json result;
  result["kernels"] = Json::array();
  for (std::size_t i = 0; i < work.items.size(); ++i) {
    Json kernel = {{"label", work.items[i].label}, {"arch", work.items[i].input.arch.name()}};
    if (i < outcomes.size()) {
      kernel["outcome"] = word_of(outcomes[i].kind);
      if (!outcomes[i].error.message.empty()) kernel["error"] = outcomes[i].error.message;
      if (const auto& why = outcomes[i].why_missing) {
        kernel["key"] = why->request.hex();
        kernel["nearest"] = nearest_to_json(*why);
      }
    }
    result["kernels"].push_back(std::move(kernel));
  }
  result["unavailable_archs"] = pairs(work.unavailable_archs, "arch", "reason");
  result["not_built"] = pairs(work.not_built, "request", "reason");
  result["no_op_yet"] = pairs(work.without_op, "op", "needed_for");
  return result;
}

ExitCode dry_run(Session& session, const Work& work) {
  if (!session.json) {
    for (const Item& item : work.items) fmt::print("{}\n", item.label);
    print_notes(work);
  }
  return session.finish(to_json(work, {}));
}

Result<void> check_words(const PrewarmWords& words, const Options& options) {
  if (words.config.empty() == words.op.empty()) {
    return fail(ErrorCode::invalid_argument,
                "prewarm wants either --config FILE or OP name=value...");
  }
  if (words.check || words.dry_run || options.cache_policy == CachePolicy::read_write) return {};
  return fail(ErrorCode::invalid_argument,
              "prewarm stores kernels, and KILN_CACHE_POLICY does not allow it; use read_write, or "
              "--check to look only");
}

ExitCode prewarm(Session& session, const PrewarmWords& words) {
  KILN_CLI_TRY_ASSIGN(Options* const options, session, session.options());
  if (const auto checked = check_words(words, *options); !checked) {
    return session.fail(checked.error());
  }
  if (words.check) options->cache_policy = CachePolicy::locked;
  if (words.jobs > 0) options->jobs = words.jobs;
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  KILN_CLI_TRY_ASSIGN(const Work work, session, plan_work(words, runtime->compilers()));
  if (words.dry_run) return dry_run(session, work);
  if (const auto store = session.store(); !store && !words.check)
    return session.fail(store.error());
  std::vector<Outcome> outcomes;
  JobLimit limit(options->jobs, free_memory_bytes);
  {
    LinePrinter printer(session.json ? Progress::silent : Progress::shown);
    outcomes = prepare_all(*runtime, words, work, limit, printer);
  }
  if (words.seal && !words.check) {
    KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
    if (const auto sealed = store->seal(); !sealed) return session.fail(sealed.error());
  }
  if (!session.json) print_summary(work, outcomes, runtime->counters(), limit.seen());
  Json result = to_json(work, outcomes);
  result["jobs"] = {{"asked", options->jobs},
                    {"most_at_once", limit.seen().most_at_once},
                    {"memory_bytes_max", limit.seen().memory_bytes_max}};
  return session.finish(std::move(result), exit_code_of(work, outcomes));
}

}  // namespace

Action add_prewarm(CLI::App& app, Session& session) {
  auto words = std::make_shared<PrewarmWords>();
  app.add_option("OP", words->op, "An op, instead of --config");
  app.add_option("PARAM", words->params, "name=value of the op's shape");
  app.add_option("--config", words->config,
                 "A model's Hugging Face config.json: " + known_model_types());
  app.add_option("--tp", words->settings.tensor_parallel, "Ranks that share the model's heads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--state", words->settings.state_type, "Type of KDA and GDN states: f32, bf16")
      ->capture_default_str();
  app.add_option("--kv", words->settings.kv_type,
                 "Type of the KV cache: auto (the activations' type), bf16, f16, e4m3, e5m2")
      ->capture_default_str();
  app.add_option("--page-size", words->page_size,
                 "Tokens of a page of the KV cache; one kernel serves every size")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--arch", words->archs, "Archs, separated by commas: sm_90a,gfx90a,cpu")
      ->capture_default_str();
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
