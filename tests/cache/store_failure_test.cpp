// SPDX-License-Identifier: Apache-2.0
// What goes wrong around a healthy store: somebody holds a lock, the disk is full or read-only.
#include <fcntl.h>
#include <sys/mount.h>

#include <cstring>

#include "cache/sqlite_store.h"
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;
using Status = StoreLookup::Status;

void expect_failure(const Result<void>& result, std::string_view part) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::cache_failed);
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  EXPECT_EQ(result.error().message.find('\n'), std::string::npos) << result.error().message;
}

// A process that holds an exclusive lock on the database from construction to destruction.
class LockHolder {
 public:
  explicit LockHolder(const fs::path& file)
      : child_([&] {
          RawDatabase raw(file);
          raw.run("BEGIN EXCLUSIVE");
          locked_.signal();
          release_.close_write();
          release_.await();
          return 0;
        }) {
    EXPECT_TRUE(locked_.await());
  }
  ~LockHolder() {
    release_.close_write();
    EXPECT_EQ(child_.wait(), 0);
  }

 private:
  Pipe locked_;
  Pipe release_;
  Child child_;
};

TEST(StoreBusy, PutFailsAndTheDatabaseKeepsAllItsRows) {
  const TempFolder folder;
  {
    auto store = open_store(folder.path());
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(store->put(key_of(i), entry_of(i)));
  }
  {
    const LockHolder holder(folder.database());
    auto store = open_store(folder.path(), 1 << 30, StoreAccess::read_write, 60);
    expect_failure(store->put(key_of(50), entry_of(50)), "busy");
    expect_failure(store->quarantine(key_of(1), "bad"), "busy");
    EXPECT_TRUE(holds(*store, 1)) << "readers are not held up";
    expect_failure(store->flush(), "busy");
  }
  auto store = open_store(folder.path());
  EXPECT_TRUE(store->put(key_of(50), entry_of(50)));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(holds(*store, i));
  EXPECT_EQ(store->totals()->entries, 21u);
}

TEST(StoreBusy, WithoutALogReadersFailTooAndNothingIsLost) {
  const TempFolder folder;
  StoreOptions options;
  options.folder = folder.path();
  options.busy_timeout_ms = 60;
  auto store = SqliteStore::open(options, FileSystemKind::network).value();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(store->put(key_of(i), entry_of(i)));
  {
    const LockHolder holder(folder.database());
    const StoreLookup found = store->find(key_of(1), entry_of(1).record);
    EXPECT_EQ(found.status, Status::failed);
    EXPECT_NE(found.reason.find("busy"), std::string::npos) << found.reason;
    expect_failure(store->put(key_of(50), entry_of(50)), "busy");
    const auto second = SqliteStore::open(options, FileSystemKind::network);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("busy"), std::string::npos) << second.error().message;
  }
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(holds(*store, i));
}

TEST(StoreBusy, RejectionThatCannotBeWrittenIsMadeUpForLater) {
  const TempFolder folder;
  put_entry(*open_store(folder.path()), 1);
  {
    const LockHolder holder(folder.database());
    auto store = open_store(folder.path());
    EXPECT_EQ(store->find(key_of(1), "another record").status, Status::rejected);
    EXPECT_EQ(store->totals()->rejected, 0u);
  }
  auto store = open_store(folder.path());
  EXPECT_EQ(store->find(key_of(1), "another record").status, Status::rejected);
  EXPECT_EQ(store->totals()->rejected, 1u);
}

// A small file system of its own; unmounted at the end.
class SmallDisk {
 public:
  SmallDisk() {
    if (mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=4m,mode=700") != 0) {
      reason_ = fmt::format("cannot mount a small file system: {}", std::strerror(errno));
    }
  }
  ~SmallDisk() {
    if (reason_.empty()) umount2(folder_.path().c_str(), MNT_DETACH);
  }
  // Why there is none; empty when there is one.
  const std::string& missing() const { return reason_; }
  const TempFolder& folder() const { return folder_; }

  void make_read_only() {
    ASSERT_EQ(mount("tmpfs", folder_.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr), 0)
        << std::strerror(errno);
  }
  void fill() {
    const Fd file(open((folder_.path() / "filler").c_str(), O_WRONLY | O_CREAT, 0600));
    const std::string block(4096, 'x');
    while (write(file.get(), block.data(), block.size()) > 0) {
    }
  }
  void empty() { fs::remove(folder_.path() / "filler"); }

 private:
  TempFolder folder_;
  std::string reason_;
};

TEST(StoreDisk, FullOneFailsThePutAndLosesNothing) {
  SmallDisk disk;
  if (!disk.missing().empty()) GTEST_SKIP() << disk.missing();
  auto store = open_store(disk.folder().path());
  constexpr int kStored = 8;
  for (int i = 0; i < kStored; ++i) put_entry(*store, i, 100'000);
  disk.fill();
  for (const std::size_t payload_bytes : {100u, 100'000u, 1'000'000u}) {
    expect_failure(store->put(key_of(200), entry_of(200, payload_bytes)), "disk is full");
    EXPECT_EQ(status_of(*store, 200), Status::absent);
  }
  for (int i = 0; i < kStored; ++i) EXPECT_TRUE(holds(*store, i, 100'000)) << i;
  EXPECT_EQ(store->totals()->entries, static_cast<std::uint64_t>(kStored));

  disk.empty();
  EXPECT_TRUE(store->put(key_of(200), entry_of(200)));
  EXPECT_TRUE(holds(*store, 200));
  EXPECT_EQ(RawDatabase(disk.folder().database()).value("PRAGMA integrity_check"), "ok");
}

TEST(StoreDisk, FullOneWithoutADatabaseIsRefused) {
  SmallDisk disk;
  if (!disk.missing().empty()) GTEST_SKIP() << disk.missing();
  disk.fill();
  const std::string reason = refusal(disk.folder().path());
  EXPECT_NE(reason.find("disk is full"), std::string::npos) << reason;
  disk.empty();
  EXPECT_EQ(refusal(disk.folder().path()), "");
}

TEST(StoreDisk, ReadOnlyOneServesWhatItHolds) {
  SmallDisk disk;
  if (!disk.missing().empty()) GTEST_SKIP() << disk.missing();
  put_entry(*open_store(disk.folder().path()), 1);
  disk.make_read_only();
  for (const StoreAccess access : {StoreAccess::read_write, StoreAccess::read_only}) {
    auto store = open_store(disk.folder().path(), 1 << 30, access);
    EXPECT_TRUE(holds(*store, 1));
    expect_failure(store->put(key_of(2), entry_of(2)), "reading only");
    EXPECT_EQ(store->find(key_of(1), "another record").status, Status::rejected);
    EXPECT_TRUE(store->flush());
    EXPECT_EQ(store->list({})->size(), 1u);
  }
}

TEST(StoreDisk, ReadOnlyOneServesWhatIsStillInTheLog) {
  SmallDisk disk;
  if (!disk.missing().empty()) GTEST_SKIP() << disk.missing();
  Child writer([&] {
    auto store = open_store(disk.folder().path());
    put_entry(*store, 1);
    raise(SIGKILL);
    return 0;
  });
  ASSERT_EQ(writer.wait(), -SIGKILL);
  ASSERT_GT(fs::file_size(disk.folder().database().string() + "-wal"), 0u);
  disk.make_read_only();
  auto store = open_store(disk.folder().path());
  EXPECT_TRUE(holds(*store, 1));
}

TEST(StoreDisk, ReadOnlyOneWithoutADatabaseIsRefused) {
  SmallDisk disk;
  if (!disk.missing().empty()) GTEST_SKIP() << disk.missing();
  disk.make_read_only();
  const std::string reason = refusal(disk.folder().path());
  EXPECT_NE(reason.find("Read-only file system"), std::string::npos) << reason;
}

}  // namespace
}  // namespace kiln::test
