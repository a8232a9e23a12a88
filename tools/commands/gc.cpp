// SPDX-License-Identifier: Apache-2.0
// jitctl gc: enforce the byte cap by hand, give the space back, make a layer.
#include <fmt/format.h>

#include "cache/store.h"
#include "tools/command.h"
#include "tools/line_printer.h"

namespace kiln::cli {
namespace {

struct GcWords {
  std::string size;
  bool seal = false;
};

ExitCode collect(Session& session, const GcWords& words) {
  KILN_CLI_TRY_ASSIGN(Options* const options, session, session.options());
  if (!words.size.empty()) {
    KILN_CLI_TRY_ASSIGN(options->cache_size_bytes_max, session, parse_size("--size", words.size));
  }
  const std::uint64_t cap = options->cache_size_bytes_max;
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  Result<GarbageReport> report = GarbageReport{};
  {
    LinePrinter printer(session.json ? Progress::silent : Progress::shown);
    report = store->collect_garbage(cap, [&](const GarbageReport& now) {
      printer.update(fmt::format("evicted {}, {} left, {} of {} bytes", now.entries_evicted,
                                 now.entries_left, now.size_bytes_left, cap));
    });
  }
  if (!report) return session.fail(report.error());
  if (words.seal) {
    if (const auto sealed = store->seal(); !sealed) return session.fail(sealed.error());
  }
  const auto previous = store->previous_file();
  if (!session.json) {
    fmt::print(
        "evicted    {}\nentries    {}\nbytes      {} of {}\nfile       {}, {} bytes before\n",
        report->entries_evicted, report->entries_left, report->size_bytes_left, cap,
        report->file_bytes_after, report->file_bytes_before);
    if (words.seal) fmt::print("sealed     {}\n", store->file().parent_path().string());
    if (previous) {
      fmt::print("older      {}: an older Kiln's; remove it if none runs here\n",
                 previous->string());
    }
  }
  Json object = {{"file", store->file().string()},
                 {"entries_evicted", report->entries_evicted},
                 {"entries", report->entries_left},
                 {"size_bytes", report->size_bytes_left},
                 {"size_bytes_max", cap},
                 {"file_bytes_before", report->file_bytes_before},
                 {"file_bytes", report->file_bytes_after},
                 {"sealed", words.seal}};
  if (previous) object["previous_file"] = previous->string();
  return session.finish(std::move(object));
}

}  // namespace

Action add_gc(CLI::App& app, Session& session) {
  auto words = std::make_shared<GcWords>();
  app.add_option("--size", words->size, "The cap: bytes, or with K, M, G; default KILN_CACHE_SIZE");
  app.add_flag("--seal", words->seal, "Leave the folder fit to be one of KILN_CACHE_LAYERS");
  return [words, &session] { return collect(session, *words); };
}

}  // namespace kiln::cli
