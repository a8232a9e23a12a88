// SPDX-License-Identifier: Apache-2.0
// The disk cache with very many entries beside one with a few: opening, a hit, a put, and what a
// person does with it. Opening, looking up and putting are Kiln's own; the entries in between are
// whole ones, written by plain SQL.
#include <fmt/ranges.h>
#include <sqlite3.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>

#include "bench/interleaved.h"
#include "cache/checksum.h"
#include "cache/store.h"
#include "jit/base/artifact.h"
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

// A kernel of some 70 to 1,024 bytes that jitctl verify finds nothing wrong with.
struct Sample {
  Key key;
  StoreEntry entry;
};

Sample sample_of(int number, const char* implementation) {
  KeyRecord record;
  record.request.add("op", "kda_decode");
  record.request.add("shape.H", std::int64_t{number});
  record.request.add("arch", "sm_90a");
  record.request.add("name_expression", "f");
  record.toolchain.add("backend", "nvrtc");
  Artifact artifact;
  artifact.format = CodeFormat::ptx;
  artifact.entries = {{"f", "f", {}}};
  const std::string text = ".version 8.0\n.target sm_90a\n.address_size 64\n.entry f(){}\n//" +
                           std::string(static_cast<std::size_t>(number) * 37 % 900, 'x');
  artifact.code = to_bytes(as_bytes(text));
  Sample sample;
  sample.key = record.key();
  sample.entry.record = record.joined().text();
  sample.entry.label = fmt::format("kda_decode/{} H={} sm_90a", implementation, number);
  sample.entry.payload = to_unfilled_bytes(artifact.encode());
  return sample;
}

Sample sample_of(int number) {
  return sample_of(number, "some");
}

void check(bool good, const char* what) {
  if (good) return;
  fmt::print(stderr, "bench: {} failed\n", what);
  std::exit(1);
}

struct Closing {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, Closing>;
using Statement = std::unique_ptr<sqlite3_stmt, Closing>;

void run_sql(sqlite3* database, const char* sql) {
  char* error = nullptr;
  if (sqlite3_exec(database, sql, nullptr, nullptr, &error) == SQLITE_OK) return;
  fmt::print(stderr, "bench: {}\n", error);
  std::exit(1);
}

void bind_bytes(sqlite3_stmt* statement, int at, ByteView bytes) {
  sqlite3_bind_blob64(statement, at, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
}

void bind_text(sqlite3_stmt* statement, int at, std::string_view text) {
  sqlite3_bind_text64(statement, at, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

// As Store::put, which would take a minute, writes them: the later ones were used later, before
// those that the Store itself put.
void add_filler(const fs::path& file, int entries) {
  sqlite3* opened = nullptr;
  check(sqlite3_open(file.c_str(), &opened) == SQLITE_OK, "opening the file");
  const Connection database(opened);
  run_sql(opened,
          "PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000; PRAGMA wal_autocheckpoint = 0;"
          "BEGIN;");
  const auto prepare = [&](const char* sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(opened, sql, -1, &statement, nullptr) == SQLITE_OK, sql);
    return Statement(statement);
  };
  const Statement entry = prepare(
      "INSERT INTO entry(id, request, toolchain, label, payload_bytes, size_bytes, created_us,"
      " last_used_us) VALUES (1000000 + ?1, ?2, ?3, ?4, ?5, ?6, ?1, ?1)");
  const Statement content = prepare("INSERT INTO content VALUES (1000000 + ?1, ?2, '', ?3, ?4)");
  for (int i = 1; i <= entries; ++i) {
    const Sample sample = sample_of(1'000'000 + i, "filler");
    const StoreEntry& made = sample.entry;
    const std::size_t size = made.payload.size();
    sqlite3_bind_int64(entry.get(), 1, i);
    bind_bytes(entry.get(), 2, sample.key.request.bytes);
    bind_bytes(entry.get(), 3, sample.key.toolchain.bytes);
    bind_text(entry.get(), 4, made.label);
    sqlite3_bind_int64(entry.get(), 5, static_cast<std::int64_t>(size));
    sqlite3_bind_int64(entry.get(), 6,
                       static_cast<std::int64_t>(size + made.record.size() + made.label.size()));
    sqlite3_bind_int64(content.get(), 1, i);
    bind_text(content.get(), 2, made.record);
    bind_bytes(content.get(), 3,
               checksum_of(sample.key, made.label, made.record, made.info, made.payload));
    bind_bytes(content.get(), 4, made.payload);
    for (const Statement* statement : {&entry, &content}) {
      check(sqlite3_step(statement->get()) == SQLITE_DONE, "inserting");
      sqlite3_reset(statement->get());
    }
  }
  run_sql(opened, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
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
    for (int i = 0; i < kSamples; ++i) {
      const Sample sample = sample_of(i);
      check(store->put(sample.key, sample.entry).has_value(), "put");
    }
  }
  add_filler(folder / "kernels-v2.db", entries - kSamples);
}

double open_and_hit_us(const fs::path& folder) {
  static int next = 0;
  const int number = next++ % kSamples;
  const Sample sample = sample_of(number);
  const double start = now_us();
  auto store = open_store(folder);
  const auto found = store->find(sample.key, sample.entry.record);
  const double took = now_us() - start;
  return found.status == StoreLookup::Status::hit ? took : std::nan("");
}

double hit_us(Store& store) {
  double total = 0;
  for (int i = 0; i < kHitsPerRepeat; ++i) {
    const int number = (i * 7) % kSamples;
    const Sample sample = sample_of(number);
    const double start = now_us();
    const auto found = store.find(sample.key, sample.entry.record);
    total += now_us() - start;
    if (found.status != StoreLookup::Status::hit) return std::nan("");
  }
  return total / kHitsPerRepeat;
}

double put_us(Store& store) {
  static int next = 5'000'000;  // keys of no other entry
  const int number = next++;
  const Sample sample = sample_of(number);
  const double start = now_us();
  const bool put = store.put(sample.key, sample.entry).has_value();
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
  const auto rows = store.near_label("kda_decode/filler H=1000005 sm_80", 500);
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
  const std::vector<std::string> first = {"ls", "--limit", "20"};
  pair(
      "jitctl ls of the first 20", [&] { return jitctl_us(first, few_folder); },
      [&] { return jitctl_us(first, many_folder); }, 7);
  const std::vector<std::string> rare = {"ls", "H=1000077 sm"};
  pair(
      "jitctl ls of the one kernel that was used before all others but 76",
      [&] { return jitctl_us(rare, few_folder); }, [&] { return jitctl_us(rare, many_folder); }, 5);
  // What goes through all entries, once.
  const auto once = [&](std::vector<std::string> words) {
    const std::string what = fmt::format("jitctl {}", fmt::join(words, " "));
    const double took = jitctl_us(std::move(words), many_folder);
    check(!std::isnan(took), what.c_str());
    bench::print({what, "us per entry", "reading every page; evicting also rewrites them"},
                 {{name("all of", many), took / many, took / many, took / many, 1}}, format);
  };
  once({"verify"});
  const auto left = lots->totals();
  check(left.has_value(), "totals");
  once({"gc", "--size", std::to_string(left->size_bytes / 2)});
  return 0;
}
