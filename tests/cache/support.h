// SPDX-License-Identifier: Apache-2.0
// What the cache tests share: folders, entries, child processes, and a look past the Store.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "cache/store.h"
#include "jit/base/handle.h"

namespace kiln::test {

// A folder of its own, 0700, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "kiln-cache-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path database() const { return path_ / "kernels-v2.db"; }

 private:
  std::filesystem::path path_;
};

inline Key key_of(int number) {
  return {Digest::of(fmt::format("request {}", number)), Digest::of(std::string_view("nvrtc"))};
}

// Deterministic, and different for each number.
inline StoreEntry entry_of(int number, std::size_t payload_bytes = 1000) {
  StoreEntry entry;
  entry.record = fmt::format("record of {}", number);
  entry.label = fmt::format("kernel {}", number);
  entry.info = fmt::format("info of {}", number);
  entry.payload.resize(payload_bytes);
  std::uint64_t state = static_cast<std::uint64_t>(number) * 2 + 1;
  for (std::byte& byte : entry.payload) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<std::byte>(state >> 56);
  }
  return entry;
}

inline std::unique_ptr<Store> open_store(const std::filesystem::path& folder,
                                         std::uint64_t size_bytes_max = 1 << 30,
                                         StoreAccess access = StoreAccess::read_write,
                                         int busy_timeout_ms = 5000) {
  StoreOptions options;
  options.folder = folder;
  options.size_bytes_max = size_bytes_max;
  options.access = access;
  options.busy_timeout_ms = busy_timeout_ms;
  auto store = Store::open(options);
  if (!store) throw std::runtime_error(store.error().message);
  return std::move(*store);
}

// The reason why a store cannot be opened there, empty when it can.
inline std::string refusal(const std::filesystem::path& folder,
                           StoreAccess access = StoreAccess::read_write) {
  StoreOptions options;
  options.folder = folder;
  options.access = access;
  options.busy_timeout_ms = 50;
  const auto store = Store::open(options);
  return store ? "" : store.error().message;
}

// For what a test takes for granted; what it checks, it checks itself.
inline void put_entry(Store& store, int number, std::size_t payload_bytes = 1000) {
  const Result<void> put = store.put(key_of(number), entry_of(number, payload_bytes));
  if (!put) throw std::runtime_error(put.error().message);
}

inline StoreLookup::Status status_of(Store& store, int number) {
  return store.find(key_of(number), entry_of(number).record).status;
}

// Whether the entry is there with every byte of its payload.
inline bool holds(Store& store, int number, std::size_t payload_bytes = 1000) {
  const StoreLookup found = store.find(key_of(number), entry_of(number).record);
  return found.status == StoreLookup::Status::hit &&
         found.entry.payload == entry_of(number, payload_bytes).payload;
}

// A connection past the Store: what another program, or a damage, would do.
class RawDatabase {
 public:
  explicit RawDatabase(const std::filesystem::path& file) {
    if (sqlite3_open(file.c_str(), &handle_) != SQLITE_OK) throw std::runtime_error("raw open");
    sqlite3_busy_timeout(handle_, 5000);
  }
  ~RawDatabase() { sqlite3_close(handle_); }
  RawDatabase(const RawDatabase&) = delete;
  RawDatabase& operator=(const RawDatabase&) = delete;

  sqlite3* get() const { return handle_; }

  void run(const std::string& sql) {
    char* error = nullptr;
    if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, &error) != SQLITE_OK) {
      throw std::runtime_error(sql + ": " + (error ? error : "failed"));
    }
  }
  // The first column of the first row as text; "NULL" where there is none.
  std::string value(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(handle_));
    }
    std::string value = "NULL";
    if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0)) {
      value = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    return value;
  }

 private:
  sqlite3* handle_ = nullptr;
};

// One-way signals between processes; each side may close its end to say the last.
class Pipe {
 public:
  Pipe() {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe failed");
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }
  void signal() const { (void)!::write(write_.get(), "x", 1); }
  // Waits for one signal; false when every writer has gone.
  bool await() const {
    char byte;
    return ::read(read_.get(), &byte, 1) == 1;
  }
  int read_end() const { return read_.get(); }
  int write_end() const { return write_.get(); }
  void close_read() { read_.reset(); }
  void close_write() { write_.reset(); }

 private:
  Fd read_;
  Fd write_;
};

// A forked process that runs `body` and exits with what it returns; killed if still there at the
// end. A child that hangs is ended by an alarm.
class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      alarm(60);
      int code = 99;
      try {
        code = body();
      } catch (const std::exception& exception) {
        fmt::print(stderr, "child: {}\n", exception.what());
      }
      _exit(code);
    }
  }
  ~Child() {
    if (pid_ > 0) {
      kill();
      wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}

  pid_t id() const { return pid_; }
  void kill() const { ::kill(pid_, SIGKILL); }
  // The exit code, or minus the signal that ended it.
  int wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

}  // namespace kiln::test
