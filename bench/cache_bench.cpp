// SPDX-License-Identifier: Apache-2.0
// The cache: hits in memory and on disk, puts, and how long cold processes wait for each other.
#include "cache/store.h"

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <chrono>
#include <cmath>
#include <cstring>

#include "bench/cache_bench.h"
#include "runtime/artifact_source.h"
#include "tests/cache/support.h"
#include "tests/runtime/fake_compiler.h"
#include "tests/support/process.h"

namespace {

using namespace kiln;
using namespace kiln::test;
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

void disk_bench(bench::Format format) {
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
  store = open_store(folder.path());
  const auto rows = bench::measure_interleaved(
      {{"pread and XXH3 of 64 KiB", [&] { return pread_us(folder.path() / "plain"); }},
       {"Store::find of 64 KiB, verified", [&] { return store_hit_us(*store); }}},
      41);
  bench::print({"disk hit", "us", "copying and hashing the bytes; the goal is 1.6"}, rows, format);
}

// ---- put

class BareInsert {
 public:
  explicit BareInsert(const std::filesystem::path& file) : raw_(file) {
    raw_.run(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
        "PRAGMA wal_autocheckpoint = 1024;"
        "CREATE TABLE row(id INTEGER PRIMARY KEY, request BLOB, toolchain BLOB, label TEXT,"
        "record TEXT, info TEXT, payload BLOB, used INTEGER, UNIQUE(request, toolchain))");
    sqlite3_prepare_v2(raw_.get(), "INSERT INTO row VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", -1,
                       &insert_, nullptr);
    sqlite3_prepare_v2(raw_.get(), "BEGIN IMMEDIATE", -1, &begin_, nullptr);
    sqlite3_prepare_v2(raw_.get(), "COMMIT", -1, &commit_, nullptr);
  }
  ~BareInsert() {
    for (sqlite3_stmt* statement : {insert_, begin_, commit_}) sqlite3_finalize(statement);
  }
  BareInsert(const BareInsert&) = delete;
  BareInsert& operator=(const BareInsert&) = delete;

  bool put(const Key& key, const StoreEntry& entry) {
    const auto blob = [&](int at, ByteView bytes) {
      sqlite3_bind_blob(insert_, at, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
    };
    const auto text = [&](int at, std::string_view value) {
      sqlite3_bind_text(insert_, at, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
    };
    blob(1, key.request.bytes);
    blob(2, key.toolchain.bytes);
    text(3, entry.label);
    text(4, entry.record);
    text(5, entry.info);
    blob(6, entry.payload);
    sqlite3_bind_int64(insert_, 7, 1);
    bool done = true;
    for (sqlite3_stmt* statement : {begin_, insert_, commit_}) {
      done = done && sqlite3_step(statement) == SQLITE_DONE;
      sqlite3_reset(statement);
    }
    return done;
  }

 private:
  RawDatabase raw_;
  sqlite3_stmt* insert_ = nullptr;
  sqlite3_stmt* begin_ = nullptr;
  sqlite3_stmt* commit_ = nullptr;
};

void put_bench(bench::Format format) {
  const TempFolder folder;
  BareInsert bare(folder.path() / "bare.db");
  auto store = open_store(folder.path());
  constexpr int kPuts = 60;
  int bare_number = 0;
  int store_number = 0;
  const auto measure = [&](int& number, const auto& put) {
    double ns = 0;
    for (int i = 0; i < kPuts; ++i, ++number) {
      const Key key = key_of(number);
      const StoreEntry entry = entry_of(number, kPayload);
      const Clock::time_point start = Clock::now();
      if (!put(key, entry)) return std::nan("");
      ns += ns_since(start);
    }
    return ns / kPuts / 1000;
  };
  const auto rows = bench::measure_interleaved(
      {{"bare SQLite insert of 64 KiB",
        [&] {
          return measure(bare_number, [&](const Key& key, const StoreEntry& entry) {
            return bare.put(key, entry);
          });
        }},
       {"Store::put of 64 KiB",
        [&] {
          return measure(store_number, [&](const Key& key, const StoreEntry& entry) {
            return store->put(key, entry).has_value();
          });
        }}},
      21);
  bench::print({"put, log of the same durability", "us",
                "writing the bytes to the log and later to the file; the goal is 1.3"},
               rows, format);
}

// ---- first hit of a process

// In a process of its own: milliseconds from the store's opening to its first hit.
int first_hit(const std::filesystem::path& folder, int number) {
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

double first_hit_ms(const std::filesystem::path& folder, int number) {
  const auto result =
      run_process({"/proc/self/exe", "--first-hit", folder.string(), std::to_string(number)});
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

void first_hit_bench(bench::Format format, bool with_a_million) {
  const TempFolder small;
  const TempFolder large;
  fill(small.path(), 1000);
  std::vector<bench::Contestant> contestants = {
      {"open and first hit, 1,000 entries", [&] { return first_hit_ms(small.path(), 0); }}};
  if (with_a_million) {
    fill(large.path(), 1'000'000);
    contestants.push_back(
        {"open and first hit, 1,000,000 entries", [&] { return first_hit_ms(large.path(), 0); }});
  }
  bench::print(
      {"first hit of a fresh process", "ms",
       "opening three files, parsing the schema, preparing one statement; the goal is 0.5"},
      bench::measure_interleaved(contestants, 41), format);
}

// ---- cold processes

// In a process of its own: waits for its input to end, gets one artifact.
int cold(const std::filesystem::path& folder) {
  Options options;
  options.cache_folder = folder / "cache";
  FakeCompiler compiler = FakeCompiler::taking(folder / "counts", std::chrono::milliseconds(300));
  Counting counting;
  ArtifactSource source(
      options, [&](const Arch&) { return std::vector<Compiler*>{&compiler}; }, counting);
  fmt::print("ready\n");
  std::fflush(stdout);
  char byte;
  (void)!read(STDIN_FILENO, &byte, 1);
  return source.get(fake_input(1)) ? 0 : 1;
}

// From the moment that all may begin to the end of the last one.
double cold_ms(int processes) {
  const TempFolder folder;
  Pipe start;
  Pipe ready;
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    const pid_t child = vfork();
    if (child == 0) {
      dup2(start.read_end(), STDIN_FILENO);
      dup2(ready.write_end(), STDOUT_FILENO);
      close(start.write_end());
      execl("/proc/self/exe", "cache_bench", "--cold", folder.path().c_str(), nullptr);
      _exit(127);
    }
    children.push_back(child);
  }
  for (std::size_t line = 0; line < children.size() * std::strlen("ready\n"); ++line) {
    if (!ready.await()) return std::nan("");
  }
  const Clock::time_point begin = Clock::now();
  start.close_write();
  bool failed = false;
  for (const pid_t child : children) {
    int status = 0;
    failed = waitpid(child, &status, 0) != child || status != 0 || failed;
  }
  const double ms = ns_since(begin) / 1e6;
  return failed || FakeCompiler::count(folder.path() / "counts") != 1 ? std::nan("") : ms;
}

void cold_bench(bench::Format format) {
  bench::print({"cold processes on one key, a compile of 300 ms", "ms",
                "the one compile; goals: 8 processes 1.2, 32 processes 1.5"},
               bench::measure_interleaved({{"1 process", [] { return cold_ms(1); }},
                                           {"8 processes", [] { return cold_ms(8); }},
                                           {"32 processes", [] { return cold_ms(32); }}},
                                          7),
               format);
}

}  // namespace

int main(int argc, char** argv) {
  const auto has = [&](const char* word) {
    for (int i = 1; i < argc; ++i) {
      if (std::strcmp(argv[i], word) == 0) return true;
    }
    return false;
  };
  if (argc == 4 && has("--first-hit")) return first_hit(argv[2], std::atoi(argv[3]));
  if (argc == 3 && has("--cold")) return cold(argv[2]);
  const bench::Format format = bench::format_of(argc, argv);
  const bool all = !has("memory") && !has("disk") && !has("put") && !has("first") && !has("cold");
  if (all || has("memory")) bench::memory_hits(format);
  if (all || has("disk")) disk_bench(format);
  if (all || has("put")) put_bench(format);
  if (all || has("first")) first_hit_bench(format, has("--million"));
  if (all || has("cold")) cold_bench(format);
}
