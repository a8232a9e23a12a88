// SPDX-License-Identifier: Apache-2.0
// jitctl ls: the stored kernels.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdio>

#include "cache/store.h"
#include "tools/command.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

struct LsWords {
  std::string filter;
  std::int64_t limit = -1;
  std::string after;
};

std::string text_of(const StoreCursor& cursor) {
  return fmt::format("{}-{}", cursor.last_used_us, cursor.id);
}

Result<StoreCursor> parse_cursor(std::string_view text) {
  StoreCursor cursor;
  if (text.empty()) return cursor;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, cursor.last_used_us);
  if (error == std::errc() && rest != end && *rest == '-') {
    const auto id = std::from_chars(rest + 1, end, cursor.id);
    if (id.ec == std::errc() && id.ptr == end) return cursor;
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("--after '{}': take what an earlier ls with --limit printed", text));
}

void print_row(const StoreRow& row) {
  constexpr std::size_t kLabelColumn = 43;
  fmt::print("{:<12}  {:>9}  {:%Y-%m-%d %H:%M}  {}\n", row.key.request.short_hex(), row.size_bytes,
             fmt::gmtime(row.last_used_s), folded(row.label, kLabelColumn));
}

Json to_json(const StoreRow& row) {
  return {{"key", row.key.request.hex()}, {"toolchain", row.key.toolchain.hex()},
          {"label", row.label},           {"bytes", row.size_bytes},
          {"created_s", row.created_s},   {"last_used_s", row.last_used_s}};
}

// Page by page, so that the first rows of very many are there at once.
ExitCode list(Session& session, const LsWords& words) {
  KILN_CLI_TRY_ASSIGN(std::optional<StoreCursor> after, session, parse_cursor(words.after));
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  StoreFilter filter;
  filter.label_contains = words.filter;
  filter.limit = words.limit;
  filter.with_records = false;
  Json kernels = Json::array();
  if (!session.json) {
    fmt::print("{:<12}  {:>9}  {:<16}  {}\n", "KEY", "BYTES", "LAST USED", "KERNEL");
  }
  while (after && filter.limit != 0) {
    KILN_CLI_TRY_ASSIGN(const StorePage page, session, store->page(filter, *after));
    for (const StoreRow& row : page.rows) {
      if (session.json) {
        kernels.push_back(to_json(row));
      } else {
        print_row(row);
      }
    }
    if (filter.limit > 0) filter.limit -= static_cast<std::int64_t>(page.rows.size());
    after = page.next;
    std::fflush(stdout);
  }
  Json result = {{"file", store->file().string()}, {"kernels", std::move(kernels)}};
  if (after) {
    result["next"] = text_of(*after);
    if (!session.json) fmt::print("there may be more: --after {}\n", text_of(*after));
  }
  return session.finish(std::move(result));
}

}  // namespace

Action add_ls(CLI::App& app, Session& session) {
  auto words = std::make_shared<LsWords>();
  app.add_option("TEXT", words->filter, "Only kernels whose name, shape or arch contains this");
  app.add_option("--limit", words->limit, "At most so many, the last used first")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--after", words->after, "Go on where an earlier ls with --limit ended");
  return [words, &session] { return list(session, *words); };
}

}  // namespace kiln::cli
