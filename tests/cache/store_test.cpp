// SPDX-License-Identifier: Apache-2.0
// What a store answers: hits, absences, rejections, listings, totals.
#include "cache/store.h"

#include <algorithm>

#include "cache/folder.h"
#include "cache/sqlite_store.h"
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

using Status = StoreLookup::Status;

// Flips one bit of a stored payload, as a failing disk would, behind SQLite's back in content only.
void flip_byte(const std::filesystem::path& file, int entry_id, int offset) {
  RawDatabase raw(file);
  sqlite3_blob* blob = nullptr;
  ASSERT_EQ(sqlite3_blob_open(raw.get(), "main", "content", "payload", entry_id, 1, &blob),
            SQLITE_OK);
  unsigned char byte = 0;
  ASSERT_EQ(sqlite3_blob_read(blob, &byte, 1, offset), SQLITE_OK);
  byte ^= 0x10;
  ASSERT_EQ(sqlite3_blob_write(blob, &byte, 1, offset), SQLITE_OK);
  ASSERT_EQ(sqlite3_blob_close(blob), SQLITE_OK);
}

TEST(Store, ReturnsWhatWasPutInThisProcessAndTheNext) {
  const TempFolder folder;
  const StoreEntry entry = entry_of(1, 200'000);
  {
    auto store = open_store(folder.path());
    EXPECT_EQ(status_of(*store, 1), Status::absent);
    ASSERT_TRUE(store->put(key_of(1), entry));
    EXPECT_TRUE(holds(*store, 1, 200'000));
  }
  auto store = open_store(folder.path());
  const StoreLookup found = store->find(key_of(1), entry.record);
  ASSERT_EQ(found.status, Status::hit);
  EXPECT_EQ(found.key, key_of(1));
  EXPECT_EQ(found.entry.record, entry.record);
  EXPECT_EQ(found.entry.label, entry.label);
  EXPECT_EQ(found.entry.info, entry.info);
  EXPECT_EQ(found.entry.payload, entry.payload);
  EXPECT_EQ(status_of(*store, 2), Status::absent);
}

TEST(Store, KeepsEmptyPayloadsAndTextsWithAnyByte) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  StoreEntry entry;
  entry.record = std::string("a\0b\xff", 4);
  ASSERT_TRUE(store->put(key_of(1), entry));
  const StoreLookup found = store->find(key_of(1), entry.record);
  ASSERT_EQ(found.status, Status::hit) << found.reason;
  EXPECT_EQ(found.entry.record, entry.record);
  EXPECT_TRUE(found.entry.payload.empty());
}

TEST(Store, ReplacesTheEntryOfAKey) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  StoreEntry entry = entry_of(1);
  ASSERT_TRUE(store->put(key_of(1), entry));
  entry.payload = entry_of(2, 5000).payload;
  ASSERT_TRUE(store->put(key_of(1), entry));
  EXPECT_EQ(store->find(key_of(1), entry.record).entry.payload, entry.payload);
  const StoreTotals totals = store->totals().value();
  EXPECT_EQ(totals.entries, 1u);
  EXPECT_EQ(totals.payload_bytes, 5000u);
  EXPECT_EQ(totals.puts, 2u);
}

TEST(Store, RejectsAnotherRecordUnderTheSameKeyAndCountsIt) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  const StoreLookup found = store->find(key_of(1), "record of something else");
  EXPECT_EQ(found.status, Status::rejected);
  EXPECT_NE(found.reason.find("another record"), std::string::npos) << found.reason;
  EXPECT_EQ(status_of(*store, 1), Status::absent);
  EXPECT_EQ(store->totals()->rejected, 1u);
  RawDatabase raw(folder.database());
  EXPECT_EQ(raw.value("SELECT label FROM quarantine"), "kernel 1");
  EXPECT_EQ(raw.value("SELECT count(*) FROM content"), "0");
}

TEST(Store, RejectsOneFlippedByteAndIsHealedByTheNextPut) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (const int offset : {0, 60'000, 99'999}) {
    ASSERT_TRUE(store->put(key_of(1), entry_of(1, 100'000)));
    const int id = std::stoi(RawDatabase(folder.database()).value("SELECT max(id) FROM entry"));
    flip_byte(folder.database(), id, offset);
    const StoreLookup found = store->find(key_of(1), entry_of(1).record);
    EXPECT_EQ(found.status, Status::rejected) << offset;
    EXPECT_NE(found.reason.find("checksum"), std::string::npos) << found.reason;
    EXPECT_EQ(status_of(*store, 1), Status::absent);
  }
  ASSERT_TRUE(store->put(key_of(1), entry_of(1, 100'000)));
  EXPECT_TRUE(holds(*store, 1, 100'000));
  EXPECT_EQ(store->totals()->rejected, 3u);
}

TEST(Store, RejectsDamageOutsideThePayload) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  const char* const damages[] = {"UPDATE content SET info = 'x'",
                                 "UPDATE entry SET label = 'x'",
                                 "UPDATE content SET payload = substr(payload, 2)",
                                 "UPDATE content SET checksum = zeroblob(16)",
                                 "UPDATE content SET checksum = x''",
                                 "UPDATE entry SET toolchain = zeroblob(32)",
                                 "DELETE FROM content"};
  for (const char* const damage : damages) {
    ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
    RawDatabase(folder.database()).run(damage);
    const Key key{key_of(1).request,
                  std::string_view(damage).find("toolchain") == std::string_view::npos
                      ? key_of(1).toolchain
                      : Digest{}};
    EXPECT_EQ(store->find(key, entry_of(1).record).status, Status::rejected) << damage;
  }
  EXPECT_EQ(store->totals()->rejected, std::size(damages));
  EXPECT_EQ(store->totals()->entries, 0u);
}

TEST(Store, QuarantineRemovesAnEntryWithItsReason) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  ASSERT_TRUE(store->put(key_of(2), entry_of(2)));
  ASSERT_TRUE(store->quarantine(key_of(1), "refused by the driver"));
  ASSERT_TRUE(store->quarantine(key_of(7), "never there"));
  EXPECT_EQ(status_of(*store, 1), Status::absent);
  EXPECT_TRUE(holds(*store, 2));
  EXPECT_EQ(store->totals()->rejected, 1u);
  RawDatabase raw(folder.database());
  EXPECT_EQ(raw.value("SELECT group_concat(reason) FROM quarantine"), "refused by the driver");
}

TEST(Store, ReadOnlyAccessFindsAndNeverWrites) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  auto store = open_store(folder.path(), 1 << 30, StoreAccess::read_only);
  const RawDatabase raw(folder.database());
  const auto version = [&] { return const_cast<RawDatabase&>(raw).value("PRAGMA data_version"); };
  const std::string before = version();
  EXPECT_TRUE(holds(*store, 1));
  EXPECT_EQ(store->find(key_of(1), "another record").status, Status::rejected);
  EXPECT_EQ(store->put(key_of(2), entry_of(2)).error().code, ErrorCode::cache_failed);
  EXPECT_EQ(store->quarantine(key_of(1), "no").error().code, ErrorCode::cache_failed);
  EXPECT_TRUE(store->flush());
  EXPECT_TRUE(holds(*store, 1));
  store.reset();
  EXPECT_EQ(version(), before);
}

TEST(Store, OnANetworkFileSystemItUsesNoLogAndNoMap) {
  const TempFolder folder;
  StoreOptions options;
  options.folder = folder.path();
  auto store = SqliteStore::open(options, FileSystemKind::network).value();
  ASSERT_TRUE(store->put(key_of(1), entry_of(1, 50'000)));
  EXPECT_TRUE(holds(*store, 1, 50'000));
  EXPECT_EQ(RawDatabase(folder.database()).value("PRAGMA journal_mode"), "delete");
  EXPECT_FALSE(std::filesystem::exists(folder.database().string() + "-wal"));
  EXPECT_FALSE(std::filesystem::exists(folder.database().string() + "-shm"));
}

TEST(Store, UsesTheLogAndSmallPagesElsewhere) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  RawDatabase raw(folder.database());
  EXPECT_EQ(raw.value("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(raw.value("PRAGMA page_size"), "4096");
  EXPECT_EQ(raw.value("PRAGMA user_version"), "2");
  EXPECT_EQ(raw.value("SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = "
                      "'table' AND NOT strict AND name NOT LIKE 'sqlite%'"),
            "0");
}

// ---- newest entry of a request

KeyRecord key_record(const std::string& op, const std::string& compiler) {
  KeyRecord record;
  record.request.add("op", op);
  record.toolchain.add("name", compiler);
  return record;
}

StoreEntry entry_for(const KeyRecord& record, int number) {
  StoreEntry entry = entry_of(number);
  entry.record = record.joined().text();
  return entry;
}

TEST(StoreNewest, ReturnsTheNewestEntryOfARequestWhateverMadeIt) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  const KeyRecord old_one = key_record("decode", "nvrtc 12");
  const KeyRecord new_one = key_record("decode", "nvrtc 13");
  const KeyRecord other = key_record("prefill", "nvrtc 13");
  ASSERT_TRUE(store->put(new_one.key(), entry_for(old_one, 0)));
  ASSERT_TRUE(store->put(old_one.key(), entry_for(old_one, 1)));
  ASSERT_TRUE(store->put(new_one.key(), entry_for(new_one, 2)));
  ASSERT_TRUE(store->put(other.key(), entry_for(other, 3)));
  const StoreLookup found = store->find_newest(new_one.key().request, new_one.request);
  ASSERT_EQ(found.status, Status::hit) << found.reason;
  EXPECT_EQ(found.entry.label, "kernel 2");
  EXPECT_EQ(found.key, new_one.key());
  EXPECT_EQ(store->find_newest(Digest{}, new_one.request).status, Status::absent);
}

TEST(StoreNewest, PassesOverDamagedEntriesAndOtherRequests) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  const KeyRecord intact = key_record("decode", "a");
  const KeyRecord damaged = key_record("decode", "b");
  const KeyRecord longer = key_record("decode", "c");
  StoreEntry with_more = entry_for(longer, 3);
  with_more.record += Record(longer.joined()).text();  // repeats request fields at the end
  ASSERT_TRUE(store->put(intact.key(), entry_for(intact, 1)));
  ASSERT_TRUE(store->put(damaged.key(), entry_for(damaged, 2)));
  ASSERT_TRUE(store->put(longer.key(), with_more));
  flip_byte(folder.database(), 2, 10);
  const StoreLookup found = store->find_newest(intact.key().request, intact.request);
  ASSERT_EQ(found.status, Status::hit) << found.reason;
  EXPECT_EQ(found.entry.label, "kernel 1");
  EXPECT_EQ(store->totals()->rejected, 2u);

  Record another;
  another.add("op", "prefill");
  EXPECT_EQ(store->find_newest(intact.key().request, another).status, Status::rejected);
}

// ---- listings and totals

TEST(StoreList, FiltersAndLimitsWithTheNewestUseFirst) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(store->put(key_of(i), entry_of(i)));
  ASSERT_TRUE(holds(*store, 3));
  const auto labels = [&](const StoreFilter& filter) {
    std::vector<std::string> found;
    const std::vector<StoreRow> rows = store->list(filter).value();
    for (const StoreRow& row : rows) found.push_back(row.label);
    return found;
  };
  EXPECT_EQ(labels({}).size(), 12u);
  StoreFilter filter;
  filter.limit = 2;
  EXPECT_EQ(labels(filter), (std::vector<std::string>{"kernel 3", "kernel 11"}));
  filter = {};
  filter.label_contains = "l 1";
  EXPECT_EQ(labels(filter), (std::vector<std::string>{"kernel 11", "kernel 10", "kernel 1"}));
  filter = {};
  filter.request = key_of(5).request;
  EXPECT_EQ(labels(filter), std::vector<std::string>{"kernel 5"});
  filter = {};
  filter.key_hex = key_of(7).request.hex().substr(0, 9);
  EXPECT_EQ(labels(filter), std::vector<std::string>{"kernel 7"});
  filter.key_hex = "no hex";
  EXPECT_TRUE(labels(filter).empty());
}

TEST(StoreList, DescribesEachEntry) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1, 777)));
  const std::vector<StoreRow> rows = store->list({}).value();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].key, key_of(1));
  EXPECT_EQ(rows[0].record, entry_of(1).record);
  EXPECT_EQ(rows[0].info, entry_of(1).info);
  EXPECT_EQ(rows[0].size_bytes, 777u);
  EXPECT_GT(rows[0].created_s, 1'600'000'000);
  EXPECT_GE(rows[0].last_used_s, rows[0].created_s);
}

TEST(StoreTotals, SurviveTheProcess) {
  const TempFolder folder;
  {
    auto store = open_store(folder.path());
    ASSERT_TRUE(store->put(key_of(1), entry_of(1, 500)));
    ASSERT_TRUE(store->put(key_of(2), entry_of(2, 600)));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(holds(*store, 1, 500));
  }
  const StoreTotals totals = open_store(folder.path())->totals().value();
  EXPECT_EQ(totals.entries, 2u);
  EXPECT_EQ(totals.payload_bytes, 1100u);
  EXPECT_GT(totals.size_bytes, 1100u);
  EXPECT_EQ(totals.puts, 2u);
  EXPECT_EQ(totals.hits, 3u);
  EXPECT_EQ(totals.rejected, 0u);
  EXPECT_EQ(totals.evicted, 0u);
}

TEST(StoreTotals, HitsAreWrittenInBatches) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  ASSERT_TRUE(store->put(key_of(1), entry_of(1)));
  RawDatabase raw(folder.database());
  const std::string version = raw.value("PRAGMA data_version");
  const std::string used = raw.value("SELECT last_used_us FROM entry");
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(holds(*store, 1));
  EXPECT_EQ(raw.value("PRAGMA data_version"), version) << "a hit has written";
  EXPECT_EQ(store->totals()->hits, 100u) << "of this process, written or not";

  ASSERT_TRUE(store->flush());
  EXPECT_EQ(raw.value("SELECT hits FROM totals"), "100");
  EXPECT_GT(std::stoll(raw.value("SELECT last_used_us FROM entry")), std::stoll(used));

  for (int i = 0; i < 1024; ++i) ASSERT_TRUE(holds(*store, 1));
  EXPECT_EQ(raw.value("SELECT hits FROM totals"), "1124") << "no flush, but many hits";
}

TEST(StoreTotals, LogOfProcessesThatOnlyHadHitsStaysSmall) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  std::uintmax_t log_bytes_most = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(holds(*open_store(folder.path()), 1));
    std::error_code none;
    const auto log_bytes = std::filesystem::file_size(folder.database().string() + "-wal", none);
    if (!none) log_bytes_most = std::max(log_bytes_most, log_bytes);
  }
  EXPECT_LT(log_bytes_most, 600'000u);
  EXPECT_EQ(open_store(folder.path())->totals()->hits, 60u);
}

}  // namespace
}  // namespace kiln::test
