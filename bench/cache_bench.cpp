// SPDX-License-Identifier: Apache-2.0
// The cache: puts, how long cold processes wait for each other, and hits in the other parts.
#include "cache/store.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

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

// ---- put

constexpr std::size_t kPayload = 64 << 10;

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

// Pages that one put writes to the log, and a checkpoint once more to the file.
void put_pages(bench::Format format) {
  const TempFolder folder;
  const auto pages = [](const std::filesystem::path& file, const auto& put) {
    constexpr int kPuts = 20;  // not enough for a checkpoint
    constexpr double kLogPageBytes = 4096 + 24;
    const std::filesystem::path log = file.string() + "-wal";
    const std::uintmax_t before = std::filesystem::file_size(log);
    for (int i = 0; i < kPuts; ++i) {
      if (!put(key_of(i), entry_of(i, kPayload))) return std::nan("");
    }
    return static_cast<double>(std::filesystem::file_size(log) - before) / kLogPageBytes / kPuts;
  };
  int round = 0;
  const auto bare_pages = [&] {
    const std::filesystem::path file = folder.path() / fmt::format("{}.db", round++);
    BareInsert bare(file);
    return pages(file,
                 [&](const Key& key, const StoreEntry& entry) { return bare.put(key, entry); });
  };
  const auto store_pages = [&] {
    auto store = open_store(folder.path() / fmt::format("{}", round++));
    return pages(store->file(), [&](const Key& key, const StoreEntry& entry) {
      return store->put(key, entry).has_value();
    });
  };
  bench::print(
      {"log of a put", "pages", "17 pages of payload"},
      bench::measure_interleaved(
          {{"bare SQLite insert of 64 KiB", bare_pages}, {"Store::put of 64 KiB", store_pages}}, 1),
      format);
}

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
  put_pages(format);
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
  if (argc == 4 && has("--first-hit")) return bench::first_hit(argv[2], std::atoi(argv[3]));
  if (argc == 4 && has("--first-bare-hit"))
    return bench::first_bare_hit(argv[2], std::atoi(argv[3]));
  if (argc == 3 && has("--cold")) return cold(argv[2]);
  const bench::Format format = bench::format_of(argc, argv);
  const bool all = !has("memory") && !has("disk") && !has("put") && !has("first") && !has("cold");
  if (all || has("memory")) bench::memory_hits(format);
  if (all || has("disk")) bench::disk_hits(format);
  if (all || has("put")) put_bench(format);
  if (all || has("first")) bench::first_hits(format, has("--million"));
  if (all || has("cold")) cold_bench(format);
}
