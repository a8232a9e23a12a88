// SPDX-License-Identifier: Apache-2.0
// The look-up of artifact_source.cpp once more, with its reasons.
#include "kiln/explain.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/artifact_source.h"
#include "runtime/nearest.h"

namespace kiln {
namespace {

// The toolchain half of a stored record.
Record toolchain_in(std::string_view text) {
  constexpr std::string_view kPrefix = "toolchain.";
  Record toolchain;
  const auto stored = Record::parse(text);
  if (!stored) return toolchain;
  for (const Record::Field& field : stored->fields()) {
    if (!field.name.starts_with(kPrefix)) continue;
    toolchain.add(std::string_view(field.name).substr(kPrefix.size()), field.value);
  }
  return toolchain;
}

StoredEntry entry_from(const StoreRow& row, const Store& store, Tier tier) {
  StoredEntry entry;
  entry.tier = tier;
  entry.file = store.file().string();
  entry.label = row.label;
  entry.key = row.key;
  entry.toolchain = toolchain_in(row.record);
  entry.created_s = row.created_s;
  entry.last_used_s = row.last_used_s;
  if (const auto info = Record::parse(row.info)) {
    entry.compiler = info->find("compiler").value_or("");
    entry.compile_time_ms =
        std::strtod(std::string(info->find("compile_time_ms").value_or("0")).c_str(), nullptr);
  }
  return entry;
}

// The row of `key`, for what a look-up does not tell.
std::optional<StoreRow> row_of(Store& store, const Key& key) {
  StoreFilter filter;
  filter.request = key.request;
  const auto rows = store.list(filter);
  if (!rows) return std::nullopt;
  const auto found =
      std::find_if(rows->begin(), rows->end(), [&](const StoreRow& row) { return row.key == key; });
  if (found == rows->end()) return std::nullopt;
  return *found;
}

}  // namespace

Result<Explanation> ArtifactSource::explain(const CompileInput& input) {
  KILN_TRY(input.check());
  const Plan known = plan(input);
  Explanation explanation;
  explanation.label = input.label();
  explanation.request = known.request_digest;
  for (Compiler* compiler : chain_(input.arch)) {
    auto toolchain = compiler->toolchain();
    Explanation::Toolchain one{std::string(compiler->name()), std::nullopt, {}};
    if (toolchain) {
      one.record = std::move(*toolchain);
    } else {
      one.why_not = toolchain.error().message;
    }
    explanation.toolchains.push_back(std::move(one));
  }
  if (const auto store = store_.store(); !store) explanation.not_readable.push_back(store.error());
  for (const Error& error : layers_.refused()) explanation.not_readable.push_back(error);
  explain_hit(known, explanation);
  if (!explanation.hit) explain_miss(known, explanation);
  return explanation;
}

void ArtifactSource::explain_hit(const Plan& plan, Explanation& explanation) {
  const auto take = [&](const Place& place, const StoreLookup& lookup) {
    if (lookup.status != StoreLookup::Status::hit) return false;
    if (place.tier == Tier::layer && layers_.is_dropped(lookup.key)) return false;
    const auto row = row_of(*place.store, lookup.key);
    if (row) explanation.hit = entry_from(*row, *place.store, place.tier);
    return row.has_value();
  };
  const std::vector<Place> all = places();
  for (const Candidate& candidate : plan.candidates) {
    const std::string record = candidate.record.joined().text();
    for (const Place& place : all) {
      if (take(place, place.store->find(candidate.key, record))) return;
    }
  }
  if (!takes_any(plan)) return;
  for (const Place& place : all) {
    explanation.is_other_toolchain =
        take(place, place.store->find_newest(plan.request_digest, plan.request));
    if (explanation.hit) return;
  }
}

void ArtifactSource::explain_miss(const Plan& plan, Explanation& explanation) {
  KeyRecord asked{plan.request, {}};
  if (!plan.candidates.empty()) asked.toolchain = plan.candidates.front().record.toolchain;
  for (const auto& [store, tier] : places()) {
    explanation.looked_in.push_back(store->file().string());
    auto nearest = nearest_entry(*store, asked, explanation.label);
    if (!nearest) {
      explanation.not_readable.push_back(std::move(nearest).error());
      continue;
    }
    if (!*nearest) continue;
    const std::size_t count = (*nearest)->differences.size();
    if (explanation.nearest && explanation.differences.size() <= count) continue;
    explanation.nearest = entry_from((*nearest)->row, *store, tier);
    explanation.differences = std::move((*nearest)->differences);
  }
}

}  // namespace kiln
