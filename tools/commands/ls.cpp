// SPDX-License-Identifier: Apache-2.0
// jitctl ls: the stored kernels.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cache/store.h"
#include "tools/command.h"

namespace kiln::cli {
namespace {

struct LsWords {
  std::string filter;
  std::int64_t limit = -1;
};

ExitCode list(Session& session, const LsWords& words) {
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  StoreFilter filter;
  filter.label_contains = words.filter;
  filter.limit = words.limit;
  KILN_CLI_TRY_ASSIGN(const std::vector<StoreRow> rows, session, store->list(filter));
  Json kernels = Json::array();
  if (!session.json)
    fmt::print("{:<12}  {:>9}  {:<16}  {}\n", "KEY", "BYTES", "LAST USED", "KERNEL");
  for (const StoreRow& row : rows) {
    if (!session.json) {
      fmt::print("{:<12}  {:>9}  {:%Y-%m-%d %H:%M}  {}\n", row.key.request.short_hex(),
                 row.size_bytes, fmt::gmtime(row.last_used_s), row.label);
    }
    kernels.push_back({{"key", row.key.request.hex()},
                       {"toolchain", row.key.toolchain.hex()},
                       {"label", row.label},
                       {"bytes", row.size_bytes},
                       {"created_s", row.created_s},
                       {"last_used_s", row.last_used_s}});
  }
  return session.finish({{"file", store->file().string()}, {"kernels", std::move(kernels)}});
}

}  // namespace

Action add_ls(CLI::App& app, Session& session) {
  auto words = std::make_shared<LsWords>();
  app.add_option("TEXT", words->filter, "Only kernels whose name, shape or arch contains this");
  app.add_option("--limit", words->limit, "At most so many, the last used first")
      ->check(CLI::Range(1, 1'000'000'000));
  return [words, &session] { return list(session, *words); };
}

}  // namespace kiln::cli
