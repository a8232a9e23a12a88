// SPDX-License-Identifier: Apache-2.0
// jitctl stats: totals that the disk cache keeps across processes.
#include <fmt/format.h>

#include "cache/store.h"
#include "tools/command.h"

namespace kiln::cli {
namespace {

ExitCode show_stats(Session& session) {
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  KILN_CLI_TRY_ASSIGN(const StoreTotals totals, session, store->totals());
  if (!session.json) {
    fmt::print("file       {}\n", store->file().string());
    fmt::print("entries    {}\nbytes      {} of {}\n", totals.entries, totals.size_bytes,
               runtime->options().cache_size_bytes_max);
    fmt::print("hits       {}\nputs       {}\nrejected   {}\nevicted    {}\n", totals.hits,
               totals.puts, totals.rejected, totals.evicted);
  }
  return session.finish({{"file", store->file().string()},
                         {"entries", totals.entries},
                         {"payload_bytes", totals.payload_bytes},
                         {"size_bytes", totals.size_bytes},
                         {"size_bytes_max", runtime->options().cache_size_bytes_max},
                         {"hits", totals.hits},
                         {"puts", totals.puts},
                         {"rejected", totals.rejected},
                         {"evicted", totals.evicted}});
}

}  // namespace

Action add_stats(CLI::App&, Session& session) {
  return [&session] { return show_stats(session); };
}

}  // namespace kiln::cli
