// SPDX-License-Identifier: Apache-2.0
// Hits on disk, and the first one of a fresh process, beside SQLite alone on the same file.
#define XXH_INLINE_ALL
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>
#include <xxhash.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "bench/cache_bench.h"
#include "cache/store.h"
#include "tests/cache/support.h"
#include "tests/support/process.h"

namespace kiln {
namespace {

using namespace test;
using bench::ns_since;
using Clock = std::chrono::steady_clock;

// ---- disk

constexpr std::size_t kPayload = 64 << 10;
constexpr int kDiskHits = 400;
constexpr int kKeptHits = 16;  // at a time, as whoever asked for them keeps them

double pread_us(const std::filesystem::path& file) {
  const Fd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const Clock::time_point start = Clock::now();
  std::uint64_t sum = 0;
  std::vector<std::unique_ptr<std::byte[]>> kept(kKeptHits);
  for (int i = 0; i < kDiskHits; ++i) {
    std::unique_ptr<std::byte[]>& bytes = kept[i % kKeptHits];
    bytes = std::make_unique_for_overwrite<std::byte[]>(kPayload);
    if (pread(fd.get(), bytes.get(), kPayload, (i % 16) * static_cast<off_t>(kPayload)) !=
        static_cast<ssize_t>(kPayload)) {
      return std::nan("");
    }
    sum += XXH3_128bits(bytes.get(), kPayload).low64;
  }
  return sum == 0 ? std::nan("") : ns_since(start) / kDiskHits / 1000;
}

double store_hit_us(Store& store) {
  std::vector<Key> keys;
  std::vector<std::string> records;
  for (int i = 0; i < kKeptHits; ++i) {
    keys.push_back(key_of(i));
    records.push_back(entry_of(i, 0).record);
  }
  const Clock::time_point start = Clock::now();
  std::vector<StoreLookup> kept(kKeptHits);
  for (int i = 0; i < kDiskHits; ++i) {
    StoreLookup& found = kept[i % kKeptHits];
    found = store.find(keys[i % kKeptHits], records[i % kKeptHits]);
    if (found.status != StoreLookup::Status::hit) return std::nan("");
  }
  return ns_since(start) / kDiskHits / 1000;
}

// What anybody pays who keeps the bytes in SQLite: the same statement on the same file, with its
// payload, copied to the caller and hashed.
class BareReader {
 public:
  explicit BareReader(const std::filesystem::path& file) : raw_(file) {
    raw_.run("PRAGMA mmap_size = 1099511627776");
    // As a Store that only reads: else the next process would have to make the log's files anew.
    sqlite3_db_config(raw_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_prepare_v3(raw_.get(),
                       "SELECT e.id, e.label, c.record, c.info, c.checksum, c.payload "
                       "FROM entry e LEFT JOIN content c ON c.id = e.id "
                       "WHERE e.request = ?1 AND e.toolchain = ?2",
                       -1, SQLITE_PREPARE_PERSISTENT, &find_, nullptr);
  }
  ~BareReader() { sqlite3_finalize(find_); }
  BareReader(const BareReader&) = delete;
  BareReader& operator=(const BareReader&) = delete;

  // The hash of the payload, which is copied to `to`; 0: there is none of that size.
  std::uint64_t find(const Key& key, std::byte* to) {
    constexpr int kPayloadColumn = 5;
    constexpr int kKeyBytes = static_cast<int>(Digest::kSize);
    sqlite3_bind_blob(find_, 1, key.request.bytes.data(), kKeyBytes, SQLITE_STATIC);
    sqlite3_bind_blob(find_, 2, key.toolchain.bytes.data(), kKeyBytes, SQLITE_STATIC);
    std::uint64_t hash = 0;
    if (sqlite3_step(find_) == SQLITE_ROW) {
      const void* const payload = sqlite3_column_blob(find_, kPayloadColumn);
      const auto size = static_cast<std::size_t>(sqlite3_column_bytes(find_, kPayloadColumn));
      if (size == kPayload) {
        std::memcpy(to, payload, size);
        hash = XXH3_128bits(to, size).low64;
      }
    }
    sqlite3_reset(find_);
    return hash;
  }

 private:
  RawDatabase raw_;
  sqlite3_stmt* find_ = nullptr;
};

double bare_hit_us(BareReader& bare) {
  std::vector<Key> keys;
  for (int i = 0; i < kKeptHits; ++i) keys.push_back(key_of(i));
  const Clock::time_point start = Clock::now();
  std::vector<std::unique_ptr<std::byte[]>> kept(kKeptHits);
  for (int i = 0; i < kDiskHits; ++i) {
    std::unique_ptr<std::byte[]>& bytes = kept[i % kKeptHits];
    bytes = std::make_unique_for_overwrite<std::byte[]>(kPayload);
    if (bare.find(keys[i % kKeptHits], bytes.get()) == 0) return std::nan("");
  }
  return ns_since(start) / kDiskHits / 1000;
}

}  // namespace

void bench::disk_hits(Format format) {
  const TempFolder folder;
  auto store = open_store(folder.path());
  std::string bytes;
  for (int i = 0; i < 16; ++i) {
    put_entry(*store, i, kPayload);
    bytes += as_text(entry_of(i, kPayload).payload);
  }
  std::FILE* const plain = std::fopen((folder.path() / "plain").c_str(), "wb");
  std::fwrite(bytes.data(), 1, bytes.size(), plain);
  std::fclose(plain);
  store.reset();  // the last one to close moves the log into the file
  store = open_store(folder.path());
  BareReader bare(store->file());
  const TempFolder other;
  auto in_log = open_store(other.path());
  for (int i = 0; i < 16; ++i) put_entry(*in_log, i, kPayload);
  const auto rows = bench::measure_interleaved(
      {{"pread and XXH3 of 64 KiB", [&] { return pread_us(folder.path() / "plain"); }},
       {"bare SQLite statement, copy, XXH3", [&] { return bare_hit_us(bare); }},
       {"Store::find of 64 KiB, verified", [&] { return store_hit_us(*store); }},
       {"the same, still in the log", [&] { return store_hit_us(*in_log); }}},
      41);
  bench::print({"disk hit", "us", "copying and hashing the bytes; the goal is 1.6"}, rows, format);
}

// ---- first hit of a process

namespace {

double first_hit_ms(const char* what, const std::filesystem::path& path, int number) {
  const auto result = run_process({"/proc/self/exe", what, path.string(), std::to_string(number)});
  return result.exit_code == 0 ? std::strtod(result.out.c_str(), nullptr) : std::nan("");
}

// All in one transaction, with the checksums of one entry: only the one that is asked for is real.
void fill(const std::filesystem::path& folder, int entries) {
  put_entry(*open_store(folder, std::uint64_t{64} << 30), 0, 64 << 10);
  RawDatabase raw(folder / open_store(folder)->file().filename());
  raw.run(fmt::format(
      "PRAGMA cache_size = -400000; BEGIN;"
      "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {0})"
      "INSERT INTO entry SELECT i, randomblob(32), zeroblob(32), 'filler', 600, 700, i, i FROM n;"
      "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {0})"
      "INSERT INTO content SELECT i, 'record', '', zeroblob(16), zeroblob(600) FROM n;"
      "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)",
      entries));
}

}  // namespace

int bench::first_hit(const std::filesystem::path& folder, int number) {
  const Clock::time_point start = Clock::now();
  StoreOptions options;
  options.folder = folder;
  const auto store = Store::open(options);
  if (!store || (*store)->find(key_of(number), entry_of(number, 0).record).status !=
                    StoreLookup::Status::hit) {
    return 1;
  }
  fmt::print("{}\n", ns_since(start) / 1e6);
  return 0;
}

int bench::first_bare_hit(const std::filesystem::path& file, int number) {
  const Clock::time_point start = Clock::now();
  BareReader bare(file);
  const auto bytes = std::make_unique_for_overwrite<std::byte[]>(kPayload);
  if (bare.find(key_of(number), bytes.get()) == 0) return 1;
  fmt::print("{}\n", ns_since(start) / 1e6);
  return 0;
}

void bench::first_hits(Format format, bool with_a_million) {
  const TempFolder small;
  const TempFolder large;
  fill(small.path(), 1000);
  std::vector<bench::Contestant> contestants = {
      {"open and first hit, 1,000 entries",
       [&] { return first_hit_ms("--first-hit", small.path(), 0); }},
      {"bare SQLite: open, statement, copy, XXH3",
       [&] { return first_hit_ms("--first-bare-hit", small.database(), 0); }}};
  if (with_a_million) {
    fill(large.path(), 1'000'000);
    contestants.push_back({"open and first hit, 1,000,000 entries",
                           [&] { return first_hit_ms("--first-hit", large.path(), 0); }});
  }
  bench::print(
      {"first hit of a fresh process", "ms",
       "opening three files, parsing the schema, preparing one statement; the goal is 0.5"},
      bench::measure_interleaved(contestants, 41), format);
}

}  // namespace kiln
