// SPDX-License-Identifier: Apache-2.0
#include "tools/explanation.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/page.h"

namespace kiln::cli {
namespace {

// A source or an option list can be long; JSON has it whole.
constexpr std::size_t kValueWidth = 120;

std::string text_of(const std::optional<std::string>& value) {
  if (!value) return "nothing";
  if (value->size() <= kValueWidth) return *value;
  return value->substr(0, kValueWidth) + "...";
}

Json value_of(const std::optional<std::string>& value) {
  return value ? Json(*value) : Json();
}

Json fields_of(const Record& record) {
  Json fields = Json::array();
  for (const Record::Field& field : record.fields()) {
    fields.push_back({{"name", field.name}, {"value", field.value}});
  }
  return fields;
}

Json to_json(const StoredEntry& entry) {
  return {{"tier", name_of(entry.tier)},
          {"file", entry.file},
          {"label", entry.label},
          {"key", entry.key.request.hex()},
          {"toolchain", entry.key.toolchain.hex()},
          {"toolchain_record", fields_of(entry.toolchain)},
          {"compiler", entry.compiler},
          {"compile_time_ms", entry.compile_time_ms},
          {"created_s", entry.created_s},
          {"last_used_s", entry.last_used_s}};
}

void print(const Record& toolchain) {
  for (const Record::Field& field : toolchain.fields()) {
    if (field.name != "backend" && field.name != "library" && field.name != "version") continue;
    fmt::print("             {} {}\n", field.name, field.value);
  }
}

void print_hit(const StoredEntry& entry, bool is_other_toolchain) {
  fmt::print("  hit        {}: {}\n", name_of(entry.tier), entry.file);
  fmt::print("  key        {}\n", entry.key.request.hex());
  fmt::print("  toolchain  {}{}\n", entry.key.toolchain.short_hex(),
             is_other_toolchain ? ", not on this machine (KILN_TOOLCHAIN=any)" : "");
  print(entry.toolchain);
  fmt::print("  compiled   {:%Y-%m-%d %H:%M:%S} UTC by {} in {:.0f} ms\n",
             fmt::gmtime(entry.created_s), entry.compiler, entry.compile_time_ms);
  fmt::print("  last used  {:%Y-%m-%d %H:%M:%S} UTC\n", fmt::gmtime(entry.last_used_s));
}

void print_miss(const Explanation& explanation) {
  if (explanation.looked_in.empty()) fmt::print("  miss       there is no cache to look in\n");
  for (const std::string& file : explanation.looked_in) fmt::print("  miss       {}\n", file);
  if (!explanation.nearest) {
    if (!explanation.looked_in.empty()) fmt::print("  nearest    none: no entry of this op\n");
    return;
  }
  fmt::print("  nearest    {}\n",
             folded(fmt::format("{} (key {}, {}: {})", explanation.nearest->label,
                                explanation.nearest->key.request.short_hex(),
                                name_of(explanation.nearest->tier), explanation.nearest->file),
                    13));
  for (const RecordDifference& difference : explanation.differences) {
    fmt::print("  differs    {}\n",
               folded(fmt::format("{}: stored {}, asked {}", difference.name,
                                  text_of(difference.before), text_of(difference.after)),
                      13));
  }
}

}  // namespace

Json nearest_to_json(const Explanation& explanation) {
  if (!explanation.nearest) return {};
  Json nearest = to_json(*explanation.nearest);
  nearest["differs"] = Json::array();
  for (const RecordDifference& difference : explanation.differences) {
    nearest["differs"].push_back({{"field", difference.name},
                                  {"stored", value_of(difference.before)},
                                  {"asked", value_of(difference.after)}});
  }
  return nearest;
}

Json to_json(const Explanation& explanation) {
  Json result = {{"label", explanation.label},
                 {"key", explanation.request.hex()},
                 {"outcome", explanation.hit ? "hit" : "miss"}};
  if (explanation.hit) {
    result["entry"] = to_json(*explanation.hit);
    result["other_toolchain"] = explanation.is_other_toolchain;
  } else {
    result["looked_in"] = explanation.looked_in;
    result["nearest"] = nearest_to_json(explanation);
  }
  result["toolchains"] = Json::array();
  for (const Explanation::Toolchain& toolchain : explanation.toolchains) {
    Json one = {{"compiler", toolchain.compiler}};
    if (toolchain.record) {
      one["toolchain"] = toolchain.record->digest().hex();
    } else {
      one["reason"] = toolchain.why_not;
    }
    result["toolchains"].push_back(std::move(one));
  }
  result["not_readable"] = Json::array();
  for (const Error& error : explanation.not_readable) {
    result["not_readable"].push_back(error.message);
  }
  return result;
}

void print(const Explanation& explanation) {
  fmt::print("{}\n", folded(explanation.label, 0));
  if (explanation.hit) {
    print_hit(*explanation.hit, explanation.is_other_toolchain);
  } else {
    print_miss(explanation);
  }
  for (const Explanation::Toolchain& toolchain : explanation.toolchains) {
    if (toolchain.record) continue;
    fmt::print("  compiler   {}\n", folded(toolchain.compiler + ": " + toolchain.why_not, 13));
  }
  for (const Error& error : explanation.not_readable) {
    fmt::print("  not read   {}\n", folded(error.message, 13));
  }
}

}  // namespace kiln::cli
