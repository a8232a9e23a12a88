// SPDX-License-Identifier: Apache-2.0
// jitctl verify: every stored entry's checksum, record and code object.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "tools/bundle_words.h"
#include "tools/command.h"
#include "tools/entry_check.h"
#include "tools/line_printer.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct VerifyWords {
  SourceWords source;
  bool each = false;
  bool quarantine = false;
};

struct Tally {
  std::uint64_t good = 0;
  std::uint64_t bad = 0;
  std::uint64_t removed = 0;
  std::uint64_t bytes = 0;
};

// A line now and then: often where it overwrites itself, seldom where each one stays.
class ProgressLine {
 public:
  ProgressLine(LinePrinter& printer, std::uint64_t expected)
      : printer_(printer), expected_(expected) {}

  void update(const Tally& tally) {
    if (Clock::now() < next_) return;
    next_ = Clock::now() + interval_;
    printer_.update(fmt::format("[{}/{}] {:.1f} MB checked, {} bad", tally.good + tally.bad,
                                expected_, static_cast<double>(tally.bytes) / 1e6, tally.bad));
  }

 private:
  LinePrinter& printer_;
  const std::uint64_t expected_;
  const std::chrono::milliseconds interval_{isatty(STDERR_FILENO) == 1 ? 100 : 5000};
  Clock::time_point next_ = Clock::now() + interval_;
};

Answer verdict_of(const ExaminedEntry& stored) {
  return stored.damage.empty() ? check_entry(stored.key, stored.entry) : Answer::no(stored.damage);
}

Json to_json(const ExaminedEntry& stored, const Answer& verdict) {
  return {{"key", stored.key.request.hex()},
          {"toolchain", stored.key.toolchain.hex()},
          {"label", stored.entry.label},
          {"verdict", verdict ? "good" : "bad"},
          {"reason", verdict.reason()}};
}

std::string text_of(const Json& one) {
  const auto value = [&](const char* name) { return one[name].get<std::string>(); };
  constexpr std::size_t kLabelColumn = 20;
  const std::string reason = value("reason").empty() ? "" : ": " + value("reason");
  return fmt::format("{:<4}  {}  {}", value("verdict"), value("key").substr(0, 12),
                     folded(value("label") + reason, kLabelColumn));
}

// Lists what is bad, or all under --each, and removes what is bad under --quarantine.
Result<Tally> verify_all(Store& store, const VerifyWords& words, LinePrinter& printer,
                         Json& listed) {
  KILN_TRY_ASSIGN(const StoreTotals totals, store.totals());
  ProgressLine progress(printer, totals.entries);
  Tally tally;
  for (std::int64_t after = 0;;) {
    KILN_TRY_ASSIGN(const std::optional<ExaminedEntry> stored, store.walk(after));
    if (!stored) return tally;
    after = stored->id;
    tally.bytes += stored->entry.payload.size();
    const Answer verdict = verdict_of(*stored);
    ++(verdict ? tally.good : tally.bad);
    if (!verdict || words.each) listed.push_back(to_json(*stored, verdict));
    if (!verdict && words.quarantine) {
      KILN_TRY(store.quarantine(stored->key, verdict.reason()));
      ++tally.removed;
    }
    progress.update(tally);
  }
}

ExitCode verify(Session& session, VerifyWords& words) {
  KILN_CLI_TRY_ASSIGN(Store* const store, session, words.source.open(session));
  Json listed = Json::array();
  Tally tally;
  {
    LinePrinter printer(session.json ? Progress::silent : Progress::shown);
    KILN_CLI_TRY_ASSIGN(tally, session, verify_all(*store, words, printer, listed));
  }
  if (!session.json) {
    for (const Json& one : listed) fmt::print("{}\n", text_of(one));
    fmt::print("{} kernels in {}: {} good, {} bad{}\n", tally.good + tally.bad,
               store->file().string(), tally.good, tally.bad,
               tally.removed > 0 ? fmt::format(", {} removed", tally.removed) : "");
  }
  return session.finish({{"file", store->file().string()},
                         {"good", tally.good},
                         {"bad", tally.bad},
                         {"removed", tally.removed},
                         {"payload_bytes", tally.bytes},
                         {"kernels", std::move(listed)}},
                        tally.bad > tally.removed ? ExitCode::failed : ExitCode::done);
}

}  // namespace

Action add_verify(CLI::App& app, Session& session) {
  auto words = std::make_shared<VerifyWords>();
  app.add_flag("--each", words->each, "List every kernel, not only bad ones");
  CLI::Option* const quarantine = app.add_flag(
      "--quarantine", words->quarantine, "Remove what is bad; the next request compiles it again");
  words->source.add_to(app);
  quarantine->excludes("--layer");
  return [words, &session] { return verify(session, *words); };
}

}  // namespace kiln::cli
