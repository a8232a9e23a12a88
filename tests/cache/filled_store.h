// SPDX-License-Identifier: Apache-2.0
// A store with entries in it, its bytes, and what a process that uses it finds.
#pragma once

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "cache/schema.h"
#include "tests/cache/support.h"

namespace kiln::test {

namespace fs = std::filesystem;

inline constexpr int kEntries = 40;
inline constexpr std::size_t kPayload = 30'000;
inline constexpr std::size_t kPage = kPageBytes;

inline std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

// A store of kEntries that nobody has open, and its bytes.
class FilledStore {
 public:
  explicit FilledStore(int entries = kEntries) {
    auto store = open_store(folder_.path());
    for (int i = 0; i < entries; ++i) put_entry(*store, i, kPayload);
    store.reset();
    content_ = read_file(folder_.database());
  }
  const TempFolder& folder() const { return folder_; }
  const fs::path& path() const { return folder_.path(); }
  std::string content() const { return content_; }
  void set(std::string_view content) const {
    fs::remove(folder_.database().string() + "-wal");
    fs::remove(folder_.database().string() + "-shm");
    write_file(folder_.database(), content);
  }
  std::size_t root_page(const char* name) const {
    RawDatabase raw(folder_.database());
    return std::stoul(
        raw.value(fmt::format("SELECT rootpage FROM sqlite_schema WHERE name = '{}'", name)));
  }
  std::string integrity() const {
    return RawDatabase(folder_.database()).value("PRAGMA integrity_check");
  }

 private:
  TempFolder folder_;
  std::string content_;
};

struct Outcome {
  int hits = 0;
  int misses = 0;
  int failed = 0;
  int wrong = 0;
  std::string reason;  // of the first failure
};

// Looks all entries up, as processes that find a miss put them again.
inline Outcome use(Store& store, int entries = kEntries) {
  Outcome outcome;
  for (int i = 0; i < entries; ++i) {
    const StoreLookup found = store.find(key_of(i), entry_of(i).record);
    if (found.status == StoreLookup::Status::hit) {
      ++outcome.hits;
      if (found.entry.payload != entry_of(i, kPayload).payload) ++outcome.wrong;
      continue;
    }
    found.status == StoreLookup::Status::failed ? ++outcome.failed : ++outcome.misses;
    if (found.status == StoreLookup::Status::failed && outcome.reason.empty())
      outcome.reason = found.reason;
    const Result<void> put = store.put(key_of(i), entry_of(i, kPayload));
    if (!put && outcome.reason.empty()) outcome.reason = put.error().message;
  }
  return outcome;
}

inline void expect_all_there(const fs::path& folder) {
  auto store = open_store(folder);
  const Outcome after = use(*store);
  EXPECT_EQ(after.hits, kEntries);
  EXPECT_EQ(after.wrong, 0);
}

inline void fill_page(std::string& content, std::size_t page, char with) {
  std::fill_n(content.begin() + static_cast<std::ptrdiff_t>((page - 1) * kPage), kPage, with);
}

}  // namespace kiln::test
