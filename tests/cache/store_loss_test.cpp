// SPDX-License-Identifier: Apache-2.0
// Damage beside the file, and files that are removed, replaced or cut short while a store is open.
#include "tests/cache/filled_store.h"

namespace kiln::test {
namespace {

using Status = StoreLookup::Status;

// A store whose last puts are in the log only: its process was killed.
void leave_a_log(const fs::path& folder) {
  Child writer([&] {
    auto store = open_store(folder);
    for (int i = kEntries; i < kEntries + 8; ++i) put_entry(*store, i, kPayload);
    raise(SIGKILL);
    return 0;
  });
  ASSERT_EQ(writer.wait(), -SIGKILL);
}

TEST(StoreLoss, LogRemovedTruncatedOrFlippedCostsOnlyWhatWasInIt) {
  const std::string kWhat[] = {"removed", "truncated", "flipped", "index removed", "index garbage"};
  for (const std::string& what : kWhat) {
    const FilledStore filled;
    leave_a_log(filled.path());
    const fs::path log = filled.folder().database().string() + "-wal";
    const fs::path index = filled.folder().database().string() + "-shm";
    ASSERT_GT(fs::file_size(log), 100'000u);
    if (what == "removed") fs::remove(log);
    if (what == "truncated") fs::resize_file(log, fs::file_size(log) / 2);
    if (what == "flipped") {
      std::string content = read_file(log);
      content[content.size() / 2] ^= 4;
      write_file(log, content);
    }
    if (what == "index removed") fs::remove(index);
    if (what == "index garbage") write_file(index, std::string(32768, 'x'));
    auto store = open_store(filled.path());
    const Outcome outcome = use(*store, kEntries + 8);
    EXPECT_EQ(outcome.wrong, 0) << what;
    EXPECT_EQ(outcome.failed, 0) << outcome.reason << what;
    EXPECT_GE(outcome.hits, what.starts_with("index") ? kEntries + 8 : kEntries) << what;
    EXPECT_EQ(use(*store, kEntries + 8).hits, kEntries + 8) << what;
    store.reset();
    EXPECT_EQ(filled.integrity(), "ok") << what;
  }
}

TEST(StoreLoss, FileThatIsRemovedUnderAnOpenStoreIsMadeAnew) {
  const FilledStore filled;
  auto store = open_store(filled.path());
  ASSERT_TRUE(holds(*store, 1, kPayload));
  fs::remove_all(filled.path());
  EXPECT_EQ(status_of(*store, 1), Status::absent);
  ASSERT_TRUE(store->put(key_of(1), entry_of(1, kPayload)));
  EXPECT_TRUE(holds(*store, 1, kPayload));
  EXPECT_TRUE(holds(*open_store(filled.path()), 1, kPayload)) << "it went to a file with no name";
}

TEST(StoreLoss, FileThatIsReplacedUnderAnOpenStoreIsNoticed) {
  const FilledStore filled;
  const FilledStore another;
  RawDatabase(another.folder().database()).run("DELETE FROM entry WHERE id = 1");
  auto store = open_store(filled.path());
  ASSERT_TRUE(holds(*store, 0, kPayload));
  fs::rename(another.folder().database(), filled.folder().database());
  EXPECT_EQ(status_of(*store, 0), Status::absent);
  EXPECT_TRUE(holds(*store, 1, kPayload));

  RawDatabase(filled.path() / "bookmarks.db").run("CREATE TABLE bookmarks(url)");
  fs::rename(filled.path() / "bookmarks.db", filled.folder().database());
  const StoreLookup refused = store->find(key_of(1), entry_of(1).record);
  EXPECT_EQ(refused.status, Status::failed);
  EXPECT_NE(refused.reason.find("another program"), std::string::npos) << refused.reason;

  fs::remove(filled.folder().database());
  fs::create_directory(filled.folder().database());
  EXPECT_EQ(status_of(*store, 1), Status::failed);
  EXPECT_FALSE(store->put(key_of(1), entry_of(1)));
}

TEST(StoreLoss, FileCutShortUnderAnOpenStoreDoesNotEndTheProcess) {
  const FilledStore filled;
  auto store = open_store(filled.path());
  for (int i = 0; i < kEntries; ++i) ASSERT_TRUE(holds(*store, i, kPayload));
  for (const std::size_t left : {filled.content().size() / 2, kPage, std::size_t{100}}) {
    fs::resize_file(filled.folder().database(), left);
    const Outcome outcome = use(*store);
    EXPECT_EQ(outcome.wrong, 0);
    EXPECT_EQ(outcome.failed, 0) << outcome.reason << left;
    EXPECT_EQ(use(*store).hits, kEntries) << left;
  }
}

}  // namespace
}  // namespace kiln::test
