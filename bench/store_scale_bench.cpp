// SPDX-License-Identifier: Apache-2.0
// The disk cache with very many entries beside one with a few: opening, a hit, and the first rows
// of a listing. What is measured is Kiln's own; the entries in between are made by plain SQL.
#include <fmt/format.h>
#include <sqlite3.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>

#include "bench/interleaved.h"
#include "cache/store.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace kiln;
namespace fs = std::filesystem;

constexpr int kFew = 1000;
constexpr int kSamples = 100;  // entries that are looked up, stored by the Store itself
constexpr int kHitsPerRepeat = 200;

double now_us() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(now).count();
}

Key key_of(int number) {
  return {Digest::of(fmt::format("request {}", number)), Digest::of(std::string_view("nvrtc"))};
}

StoreEntry entry_of(int number) {
  StoreEntry entry;
  Record record;
  record.add("request.op", "op");
  record.add("request.number", std::int64_t{number});
  entry.record = record.text();
  entry.label = fmt::format("op/some H={} sm_90a", number);
  entry.payload.resize(static_cast<std::size_t>(1 + (number * 37) % 1024));
  return entry;
}

void check(bool good, const char* what) {
  if (good) return;
  fmt::print(stderr, "bench: {} failed\n", what);
  std::exit(1);
}

// What a million puts would leave, in seconds: entries with random keys, 1 to 1024 bytes of code.
void add_filler(const fs::path& file, int entries) {
  sqlite3* database = nullptr;
  check(sqlite3_open(file.c_str(), &database) == SQLITE_OK, "opening the file");
  const std::string sql = fmt::format(R"sql(
PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000; PRAGMA wal_autocheckpoint = 0;
BEGIN;
DROP TRIGGER entry_added;
CREATE TEMP TABLE n(i INTEGER PRIMARY KEY);
INSERT INTO n WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {0})
SELECT i FROM c;
INSERT INTO entry(id, request, toolchain, label, payload_bytes, size_bytes, created_us,
                  last_used_us)
SELECT 1000000 + i, randomblob(32), randomblob(32), 'op/filler H=' || i || ' sm_90a',
       1 + i % 1024, 1 + i % 1024, i, i FROM n;
INSERT INTO content SELECT 1000000 + i, 'record', '', zeroblob(16), randomblob(1 + i % 1024) FROM n;
CREATE TRIGGER entry_added AFTER INSERT ON entry BEGIN
  UPDATE totals SET entries = entries + 1,
                    payload_bytes = payload_bytes + new.payload_bytes,
                    size_bytes = size_bytes + new.size_bytes;
END;
UPDATE totals SET entries = (SELECT count(*) FROM entry),
                  payload_bytes = (SELECT sum(payload_bytes) FROM entry),
                  size_bytes = (SELECT sum(size_bytes) FROM entry);
COMMIT;
PRAGMA wal_checkpoint(TRUNCATE);
)sql",
                                      entries);
  char* error = nullptr;
  if (sqlite3_exec(database, sql.c_str(), nullptr, nullptr, &error) != SQLITE_OK) {
    fmt::print(stderr, "bench: {}\n", error);
    std::exit(1);
  }
  sqlite3_close(database);
}

std::unique_ptr<Store> open_store(const fs::path& folder) {
  StoreOptions options;
  options.folder = folder;
  options.size_bytes_max = std::uint64_t{64} << 30;
  auto store = Store::open(options);
  check(store.has_value(), "opening the store");
  return std::move(*store);
}

void fill(const fs::path& folder, int entries) {
  {
    auto store = open_store(folder);
    for (int i = 0; i < kSamples; ++i) check(store->put(key_of(i), entry_of(i)).has_value(), "put");
  }
  add_filler(folder / "kernels-v2.db", entries - kSamples);
}

double open_and_hit_us(const fs::path& folder) {
  static int next = 0;
  const int number = next++ % kSamples;
  const Key key = key_of(number);
  const StoreEntry entry = entry_of(number);
  const double start = now_us();
  auto store = open_store(folder);
  const auto found = store->find(key, entry.record);
  const double took = now_us() - start;
  return found.status == StoreLookup::Status::hit ? took : std::nan("");
}

double hit_us(Store& store) {
  double total = 0;
  for (int i = 0; i < kHitsPerRepeat; ++i) {
    const int number = (i * 7) % kSamples;
    const Key key = key_of(number);
    const StoreEntry entry = entry_of(number);
    const double start = now_us();
    const auto found = store.find(key, entry.record);
    total += now_us() - start;
    if (found.status != StoreLookup::Status::hit) return std::nan("");
  }
  return total / kHitsPerRepeat;
}

double put_us(Store& store) {
  static int next = 1'000'000;
  const int number = next++;
  const Key key = key_of(number);
  const StoreEntry entry = entry_of(number);
  const double start = now_us();
  const bool put = store.put(key, entry).has_value();
  return put ? now_us() - start : std::nan("");
}

double first_page_us(Store& store) {
  StoreFilter filter;
  filter.with_records = false;
  const double start = now_us();
  const auto page = store.page(filter, {});
  return page && page->rows.size() > 100 ? now_us() - start : std::nan("");
}

double neighbours_us(Store& store) {
  const double start = now_us();
  const auto rows = store.near_label("op/filler H=5 sm_80", 500);
  return rows && rows->size() > 500 ? now_us() - start : std::nan("");
}

double jitctl_us(std::vector<std::string> words, const fs::path& folder) {
  words.insert(words.begin(), KILN_JITCTL);
  const double start = now_us();
  const auto result =
      test::run_process(words, {{"KILN_CACHE_DIR", folder.string()}, {"KILN_CACHE_SIZE", "64G"}});
  return result.exit_code == 0 ? now_us() - start : std::nan("");
}

}  // namespace

int main(int argc, char** argv) {
  int many = 1'000'000;
  if (argc > 1 && std::isdigit(static_cast<unsigned char>(argv[argc - 1][0]))) {
    std::from_chars(argv[argc - 1], argv[argc - 1] + std::strlen(argv[argc - 1]), many);
  }
  const test::TempFolder home;
  const fs::path few_folder = home.path() / "few";
  const fs::path many_folder = home.path() / "many";
  fill(few_folder, kFew);
  fill(many_folder, many);
  const auto few = open_store(few_folder);
  const auto lots = open_store(many_folder);
  const auto name = [](const char* what, int entries) {
    return fmt::format("{}, {} entries", what, entries);
  };
  const bench::Format format = bench::format_of(argc, argv);
  const auto pair = [&](const char* what, const auto& measure_few, const auto& measure_many,
                        int rounds) {
    const auto rows = bench::measure_interleaved(
        {{name(what, kFew), measure_few}, {name(what, many), measure_many}}, rounds);
    bench::print({what, "us", "the same with few entries; the goal is a ratio of at most 2"}, rows,
                 format);
  };
  pair(
      "open and first hit", [&] { return open_and_hit_us(few_folder); },
      [&] { return open_and_hit_us(many_folder); }, 101);
  pair(
      "hit", [&] { return hit_us(*few); }, [&] { return hit_us(*lots); }, 31);
  pair(
      "put", [&] { return put_us(*few); }, [&] { return put_us(*lots); }, 101);
  pair(
      "first rows of a listing", [&] { return first_page_us(*few); },
      [&] { return first_page_us(*lots); }, 31);
  pair(
      "1,000 neighbours by label", [&] { return neighbours_us(*few); },
      [&] { return neighbours_us(*lots); }, 31);
  const std::vector<std::string> explain = {"explain", "kda_decode"};
  pair(
      "jitctl explain, a miss", [&] { return jitctl_us(explain, few_folder); },
      [&] { return jitctl_us(explain, many_folder); }, 7);
  const std::vector<std::string> rare = {"ls", "H=77 sm", "--limit", "1"};
  pair(
      "jitctl ls of one rare kernel", [&] { return jitctl_us(rare, few_folder); },
      [&] { return jitctl_us(rare, many_folder); }, 5);
  return 0;
}
