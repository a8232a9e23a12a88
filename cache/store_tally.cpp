// SPDX-License-Identifier: Apache-2.0
// What was served and compiled, by kind: noted in memory, written with the next batch.
#include <algorithm>

#include "cache/sqlite_store.h"

namespace kiln {
namespace {

constexpr const char* kAddTally = R"sql(
INSERT INTO tally(op, arch, compiler, tier, uses, compile_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO UPDATE SET uses = uses + excluded.uses,
                          compile_us = compile_us + excluded.compile_us
)sql";
constexpr const char* kTallies = R"sql(
SELECT op, arch, compiler, tier, uses, compile_us FROM tally ORDER BY op, arch, compiler, tier
)sql";

bool is_same_kind(const StoreTally& a, const StoreTally& b) {
  return a.op == b.op && a.arch == b.arch && a.compiler == b.compiler && a.tier == b.tier;
}

}  // namespace

void SqliteStore::note(const StoreTally& tally) {
  if (mode_ != OpenMode::read_write) return;
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(pending_.tallies.begin(), pending_.tallies.end(),
                   [&](const StoreTally& each) { return is_same_kind(each, tally); });
  if (found == pending_.tallies.end()) {
    pending_.tallies.push_back(tally);
    return;
  }
  found->uses += tally.uses;
  found->compile_us += tally.compile_us;
}

Result<void> SqliteStore::write_tallies() {
  for (const StoreTally& tally : pending_.tallies) {
    Query add(*database_, kAddTally);
    add.bind(tally.op).bind(tally.arch).bind(tally.compiler).bind(tally.tier);
    add.bind(static_cast<std::int64_t>(tally.uses));
    KILN_TRY(add.bind(static_cast<std::int64_t>(tally.compile_us)).run());
  }
  return {};
}

Result<std::vector<StoreTally>> SqliteStore::tallies() {
  return ask([&]() -> Result<std::vector<StoreTally>> {
    if (!pending_.empty()) (void)write(Patience::little, [] { return Result<void>(); });
    Query query(*database_, kTallies);
    std::vector<StoreTally> tallies;
    Result<bool> found = query.next();
    for (; found && *found; found = query.next()) {
      StoreTally tally;
      tally.op = query.text(0);
      tally.arch = query.text(1);
      tally.compiler = query.text(2);
      tally.tier = query.text(3);
      tally.uses = static_cast<std::uint64_t>(query.integer(4));
      tally.compile_us = static_cast<std::uint64_t>(query.integer(5));
      tallies.push_back(std::move(tally));
    }
    KILN_TRY(found);
    return tallies;
  });
}

}  // namespace kiln
