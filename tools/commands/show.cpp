// SPDX-License-Identifier: Apache-2.0
// jitctl show: everything that is stored about one kernel.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cache/store.h"
#include "tools/command.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

constexpr std::size_t kMatchesShown = 4;

bool is_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The one row whose key begins with `prefix`; several toolchains of one request are one kernel.
Result<std::vector<StoreRow>> find_rows(Store& store, const std::string& prefix) {
  if (!is_hex(prefix)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no key: hex digits as 'jitctl ls' shows them", prefix));
  }
  StoreFilter filter;
  filter.key_hex = prefix;
  KILN_TRY_ASSIGN(std::vector<StoreRow> rows, store.list(filter));
  if (rows.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("no stored kernel has a key that begins with '{}'; 'jitctl ls' lists "
                            "them",
                            prefix));
  }
  for (const StoreRow& row : rows) {
    if (row.key.request == rows.front().key.request) continue;
    std::string keys;
    for (std::size_t i = 0; i < std::min(rows.size(), kMatchesShown); ++i) {
      keys += " " + rows[i].key.request.short_hex();
    }
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("'{}' fits {} kernels:{}; give more digits", prefix, rows.size(), keys));
  }
  return rows;
}

Json fields_of(std::string_view text, bool print) {
  Json fields = Json::array();
  const auto record = Record::parse(text);
  if (!record) return fields;
  for (const Record::Field& field : record->fields()) {
    if (print) fmt::print("  {:<28} {}\n", field.name, folded(field.value, 31));
    fields.push_back({{"name", field.name}, {"value", field.value}});
  }
  return fields;
}

ExitCode show(Session& session, const std::string& prefix) {
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  KILN_CLI_TRY_ASSIGN(const std::vector<StoreRow> rows, session, find_rows(*store, prefix));
  const bool print = !session.json;
  Json entries = Json::array();
  for (const StoreRow& row : rows) {
    if (print) {
      fmt::print("kernel     {}\nkey        {}\ntoolchain  {}\nbytes      {}\n",
                 folded(row.label, 11), row.key.request.hex(), row.key.toolchain.hex(),
                 row.size_bytes);
      fmt::print("created    {:%Y-%m-%d %H:%M:%S} UTC\nlast used  {:%Y-%m-%d %H:%M:%S} UTC\n",
                 fmt::gmtime(row.created_s), fmt::gmtime(row.last_used_s));
    }
    Json entry = {{"label", row.label},
                  {"key", row.key.request.hex()},
                  {"toolchain", row.key.toolchain.hex()},
                  {"bytes", row.size_bytes},
                  {"created_s", row.created_s},
                  {"last_used_s", row.last_used_s}};
    if (print) fmt::print("record\n");
    entry["record"] = fields_of(row.record, print);
    if (print) fmt::print("how it was made\n");
    entry["info"] = fields_of(row.info, print);
    entries.push_back(std::move(entry));
  }
  return session.finish({{"entries", std::move(entries)}});
}

}  // namespace

Action add_show(CLI::App& app, Session& session) {
  auto prefix = std::make_shared<std::string>();
  app.add_option("KEY", *prefix, "A key from 'jitctl ls', or its first digits")->required();
  return [prefix, &session] { return show(session, *prefix); };
}

}  // namespace kiln::cli
