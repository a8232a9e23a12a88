// SPDX-License-Identifier: Apache-2.0
// A store as the version of Kiln with schema 1 made it, kept here word for word.
#pragma once

#include "cache/checksum.h"
#include "tests/cache/support.h"

namespace kiln::test {

inline constexpr const char* kSchemaV1 = R"sql(
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE entry(
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  request       BLOB NOT NULL CHECK(length(request) = 32),
  toolchain     BLOB NOT NULL CHECK(length(toolchain) = 32),
  label         TEXT NOT NULL,
  payload_bytes INTEGER NOT NULL,
  size_bytes    INTEGER NOT NULL,
  created_us    INTEGER NOT NULL,
  last_used_us  INTEGER NOT NULL,
  UNIQUE(request, toolchain)
) STRICT;
CREATE INDEX entry_by_use ON entry(last_used_us);

CREATE TABLE content(
  id       INTEGER PRIMARY KEY REFERENCES entry(id) ON DELETE CASCADE,
  record   TEXT NOT NULL,
  info     TEXT NOT NULL,
  checksum BLOB NOT NULL,
  payload  BLOB NOT NULL
) STRICT;

CREATE TABLE quarantine(
  id        INTEGER PRIMARY KEY,
  request   BLOB NOT NULL,
  toolchain BLOB NOT NULL,
  label     TEXT NOT NULL,
  reason    TEXT NOT NULL,
  at_us     INTEGER NOT NULL
) STRICT;

CREATE TABLE totals(
  only_row      INTEGER PRIMARY KEY CHECK(only_row = 1),
  entries       INTEGER NOT NULL DEFAULT 0,
  payload_bytes INTEGER NOT NULL DEFAULT 0,
  size_bytes    INTEGER NOT NULL DEFAULT 0,
  hits          INTEGER NOT NULL DEFAULT 0,
  puts          INTEGER NOT NULL DEFAULT 0,
  rejected      INTEGER NOT NULL DEFAULT 0,
  evicted       INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO totals(only_row) VALUES (1);

CREATE TRIGGER entry_added AFTER INSERT ON entry BEGIN
  UPDATE totals SET entries = entries + 1,
                    payload_bytes = payload_bytes + new.payload_bytes,
                    size_bytes = size_bytes + new.size_bytes;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entry BEGIN
  UPDATE totals SET entries = entries - 1,
                    payload_bytes = payload_bytes - old.payload_bytes,
                    size_bytes = size_bytes - old.size_bytes;
END;
PRAGMA application_id = 0x4b696c6e;
PRAGMA user_version = 1;
COMMIT;
)sql";

class StoreV1 {
 public:
  explicit StoreV1(const std::filesystem::path& folder) : database_(folder / "kernels-v1.db") {
    database_.run(kSchemaV1);
  }
  RawDatabase& raw() { return database_; }

  void put(int number, std::size_t payload_bytes = 1000) {
    const Key key = key_of(number);
    const StoreEntry entry = entry_of(number, payload_bytes);
    const Checksum sum = checksum_of(key, entry.label, entry.record, entry.info, entry.payload);
    const auto hex = [](ByteView bytes) {
      std::string text = "x'";
      for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<int>(byte));
      return text + "'";
    };
    const std::size_t size =
        entry.payload.size() + entry.record.size() + entry.label.size() + entry.info.size();
    database_.run(fmt::format(
        "INSERT INTO entry(request, toolchain, label, payload_bytes, size_bytes, created_us, "
        "last_used_us) VALUES ({}, {}, '{}', {}, {}, {}, {})",
        hex(key.request.bytes), hex(key.toolchain.bytes), entry.label, payload_bytes, size,
        1'700'000'000'000'000 + number, 1'700'000'000'000'000 + number));
    database_.run(
        fmt::format("INSERT INTO content VALUES (last_insert_rowid(), '{}', '{}', {}, {})",
                    entry.record, entry.info, hex(sum), hex(entry.payload)));
  }

 private:
  RawDatabase database_;
};

}  // namespace kiln::test
