// SPDX-License-Identifier: Apache-2.0
// jitctl audit: whether compiling again gives what is stored. A kernel that differs was made from
// something that is not in its key, or by a compiler that is not reproducible.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "cache/store.h"
#include "tools/artifact_comparison.h"
#include "tools/command.h"
#include "tools/line_printer.h"
#include "tools/page.h"
#include "tools/stored_request.h"

namespace kiln::cli {
namespace {

using Verdict = ArtifactComparison::Verdict;

struct AuditWords {
  std::size_t sample = 16;
  bool all = false;
  std::uint64_t seed = 0;
};

// What became of one kernel. Without a comparison: why there is none.
struct Finding {
  Key key;
  std::string label;
  std::string compiler;
  std::optional<ArtifactComparison> comparison;
  std::string reason;
  bool failed = false;  // it should have compiled and did not
};

// Every key, or `sample` of them, each with the same chance.
Result<std::vector<Key>> choose(Store& store, const AuditWords& words) {
  std::mt19937_64 random(words.seed);
  std::vector<Key> chosen;
  std::size_t seen = 0;
  for (std::int64_t after = 0;;) {
    KILN_TRY_ASSIGN(const std::optional<ExaminedEntry> stored, store.walk(after));
    if (!stored) return chosen;
    after = stored->id;
    ++seen;
    if (words.all || chosen.size() < words.sample) {
      chosen.push_back(stored->key);
    } else if (const std::size_t at = random() % seen; at < words.sample) {
      chosen[at] = stored->key;
    }
  }
}

Finding audit_entry(const Compilers& compilers, const ExaminedEntry& stored) {
  Finding finding;
  finding.key = stored.key;
  finding.label = stored.entry.label;
  const auto fail_with = [&](const Error& error) {
    finding.failed = true;
    finding.reason = error.message;
    return finding;
  };
  const auto record = KeyRecord::split(stored.entry.record);
  const auto before = Artifact::decode(stored.entry.payload);
  if (!stored.damage.empty()) return fail_with({ErrorCode::cache_failed, stored.damage, {}});
  if (!record) return fail_with(record.error());
  if (!before) return fail_with(before.error());
  const auto input = input_of(record->request);
  const auto compiler = input ? compiler_of(compilers, *input, record->toolchain)
                              : Result<Compiler*>(fail(input.error()));
  if (!compiler) {
    finding.reason = compiler.error().message;
    return finding;
  }
  finding.compiler = (*compiler)->name();
  const auto after = (*compiler)->compile(*input);
  if (!after) return fail_with(after.error());
  finding.comparison = compare_artifacts(*before, *after);
  return finding;
}

std::string text_of(const Finding& finding) {
  const std::string_view verdict = finding.comparison ? name_of(finding.comparison->verdict)
                                   : finding.failed   ? "failed"
                                                      : "skipped";
  std::string why = finding.reason;
  if (finding.comparison) why = fmt::format("{}", fmt::join(finding.comparison->parts, ", "));
  return fmt::format("{:<9}  {}{}{}", verdict, finding.label, why.empty() ? "" : ": ", why);
}

Json to_json(const Finding& finding) {
  Json object = {{"key", finding.key.request.hex()},
                 {"label", finding.label},
                 {"compiler", finding.compiler},
                 {"verdict", finding.comparison ? name_of(finding.comparison->verdict)
                             : finding.failed   ? "failed"
                                                : "skipped"},
                 {"reason", finding.reason}};
  object["differs_in"] =
      finding.comparison ? finding.comparison->parts : std::vector<std::string>();
  return object;
}

// How reproducible one compiler showed itself to be.
struct CompilerVerdict {
  std::map<Verdict, std::size_t> counts;
  std::set<std::string> parts;

  std::string text() const {
    const auto count = [&](Verdict verdict) {
      const auto found = counts.find(verdict);
      return found == counts.end() ? 0 : found->second;
    };
    if (count(Verdict::different) > 0) {
      return fmt::format("not reproducible: differs in {}", fmt::join(parts, ", "));
    }
    if (count(Verdict::stamped) > 0) {
      return fmt::format("reproducible but for its stamps: {}", fmt::join(parts, ", "));
    }
    return "reproducible byte for byte";
  }
};

std::map<std::string, CompilerVerdict> by_compiler(const std::vector<Finding>& findings) {
  std::map<std::string, CompilerVerdict> verdicts;
  for (const Finding& finding : findings) {
    if (!finding.comparison) continue;
    CompilerVerdict& verdict = verdicts[finding.compiler];
    ++verdict.counts[finding.comparison->verdict];
    verdict.parts.insert(finding.comparison->parts.begin(), finding.comparison->parts.end());
  }
  return verdicts;
}

ExitCode report(Session& session, const std::vector<Finding>& findings, std::uint64_t seed) {
  Json compilers = Json::object();
  std::size_t compared = 0;
  for (const auto& [name, verdict] : by_compiler(findings)) {
    Json counts = Json::object();
    std::size_t of_compiler = 0;
    for (const auto& [kind, count] : verdict.counts) {
      counts[std::string(name_of(kind))] = count;
      of_compiler += count;
    }
    compared += of_compiler;
    if (!session.json) {
      fmt::print("{:<9}  {} kernels: {}\n", name, of_compiler, verdict.text());
    }
    compilers[name] = {{"verdict", verdict.text()}, {"kernels", std::move(counts)}};
  }
  Json listed = Json::array();
  bool bad = false;
  for (const Finding& finding : findings) {
    const bool same = finding.comparison && finding.comparison->verdict == Verdict::identical;
    if (!same && !session.json) fmt::print("{}\n", folded(text_of(finding), 0));
    bad = bad || finding.failed ||
          (finding.comparison && finding.comparison->verdict == Verdict::different);
    listed.push_back(to_json(finding));
  }
  if (!session.json) {
    fmt::print("{} of {} kernels compiled again (--seed {})\n", compared, findings.size(), seed);
  }
  const bool nothing = compared == 0 && !findings.empty();
  return session.finish({{"compilers", std::move(compilers)},
                         {"seed", seed},
                         {"compared", compared},
                         {"kernels", std::move(listed)}},
                        bad || nothing ? ExitCode::failed : ExitCode::done);
}

ExitCode audit(Session& session, const AuditWords& words) {
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  KILN_CLI_TRY_ASSIGN(const std::vector<Key> keys, session, choose(*store, words));
  std::vector<Finding> findings;
  {
    LinePrinter printer(session.json ? Progress::silent : Progress::shown);
    for (const Key& key : keys) {
      KILN_CLI_TRY_ASSIGN(const std::optional<ExaminedEntry> stored, session, store->look(key));
      if (!stored) continue;  // evicted meanwhile
      findings.push_back(audit_entry(runtime->compilers(), *stored));
      printer.update(
          fmt::format("[{}/{}] {}", findings.size(), keys.size(), text_of(findings.back())));
    }
  }
  return report(session, findings, words.seed);
}

}  // namespace

Action add_audit(CLI::App& app, Session& session) {
  auto words = std::make_shared<AuditWords>();
  words->seed = std::random_device{}();
  CLI::Option* const sample =
      app.add_option("--sample", words->sample, "Compile so many again, chosen at random")
          ->check(CLI::Range(1, 1'000'000))
          ->capture_default_str();
  app.add_flag("--all", words->all, "Compile every stored kernel again")->excludes(sample);
  app.add_option("--seed", words->seed, "Of the choice; without, another one each time");
  return [words, &session] { return audit(session, *words); };
}

}  // namespace kiln::cli
