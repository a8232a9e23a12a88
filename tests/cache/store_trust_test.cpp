// SPDX-License-Identifier: Apache-2.0
// Who is trusted: every kind of owner, mode, link and access, and processes with more rights than
// their user.
#include <fcntl.h>
#include <sys/stat.h>

#include "cache/folder.h"
#include "cache/schema.h"
#include "tests/cache/support.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kUser = 65534;
constexpr uid_t kStranger = 4711;
constexpr mode_t kModes[] = {0700, 0500, 0750, 0755, 0770, 0720, 0702, 0777, 01777, 02700, 02770};

bool others_can_write(mode_t mode) {
  return (mode & 022) != 0;
}

// Runs `body` as kUser, in a process of its own; whether it returned true.
bool as_user(const std::function<bool()>& body) {
  Child child([&] {
    if (setresgid(kUser, kUser, kUser) != 0 || setresuid(kUser, kUser, kUser) != 0) return 2;
    return body() ? 0 : 1;
  });
  return child.wait() == 0;
}

class StoreTrust : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can give files to others";
    ASSERT_EQ(chmod(outer_.path().c_str(), 0755), 0);
  }
  fs::path folder() const { return outer_.path() / "cache"; }
  TempFolder outer_;
};

TEST_F(StoreTrust, EveryOwnerModeAndAccessOfAFolder) {
  for (const uid_t owner : {kUser, uid_t{0}, kStranger}) {
    for (const mode_t mode : kModes) {
      for (const StoreAccess access : {StoreAccess::read_write, StoreAccess::read_only}) {
        fs::create_directory(folder());
        ASSERT_EQ(chown(folder().c_str(), owner, owner), 0);
        ASSERT_EQ(chmod(folder().c_str(), mode), 0);
        const bool trusted_owner =
            owner == kUser || (owner == 0 && access == StoreAccess::read_only);
        const bool expected = trusted_owner && !others_can_write(mode);
        EXPECT_TRUE(as_user([&] {
          return trusted_folder(folder(), access).has_value() == expected;
        })) << "owner "
            << owner << fmt::format(" mode {:o} ", mode)
            << (access == StoreAccess::read_only ? "read-only" : "read-write");
        fs::remove_all(folder());
      }
    }
  }
}

TEST_F(StoreTrust, EveryOwnerModeAndAccessOfTheFile) {
  fs::create_directory(folder());
  ASSERT_EQ(chmod(folder().c_str(), 0755), 0);
  const fs::path file = folder() / "file";
  for (const uid_t owner : {kUser, uid_t{0}, kStranger}) {
    for (const mode_t mode : {0600, 0644, 0660, 0602, 0666}) {
      for (const StoreAccess access : {StoreAccess::read_write, StoreAccess::read_only}) {
        { const Fd made(open(file.c_str(), O_WRONLY | O_CREAT, 0600)); }
        ASSERT_EQ(chown(file.c_str(), owner, owner), 0);
        ASSERT_EQ(chmod(file.c_str(), mode), 0);
        const bool trusted_owner =
            owner == kUser || (owner == 0 && access == StoreAccess::read_only);
        const bool expected = trusted_owner && !others_can_write(mode);
        EXPECT_TRUE(as_user([&] {
          return check_trusted_file(file, access).has_value() == expected;
        })) << "owner "
            << owner << fmt::format(" mode {:o} ", mode)
            << (access == StoreAccess::read_only ? "read-only" : "read-write");
        fs::remove(file);
      }
    }
  }
}

TEST_F(StoreTrust, NoLinkIsFollowedWhoeverMadeIt) {
  const fs::path real = outer_.path() / "real";
  fs::create_directory(real);
  ASSERT_EQ(chown(real.c_str(), kUser, kUser), 0);
  ASSERT_EQ(chmod(real.c_str(), 0700), 0);
  for (const uid_t owner : {kUser, uid_t{0}, kStranger}) {
    fs::create_directory_symlink(real, folder());
    ASSERT_EQ(lchown(folder().c_str(), owner, owner), 0);
    for (const StoreAccess access : {StoreAccess::read_write, StoreAccess::read_only}) {
      EXPECT_TRUE(as_user([&] { return !trusted_folder(folder(), access); })) << owner;
    }
    fs::remove(folder());
  }
  EXPECT_TRUE(as_user([&] { return open_store(real) != nullptr; }));
  for (const char* const name : {"kernels.lock", kStoreFileName}) {
    if (!fs::exists(real / name)) continue;
    fs::rename(real / name, outer_.path() / "elsewhere");
    fs::create_symlink(outer_.path() / "elsewhere", real / name);
    EXPECT_FALSE(check_trusted_file(real / name, StoreAccess::read_write)) << name;
  }
}

TEST_F(StoreTrust, ProcessWithTheRightsOfAnotherUserOrGroupGetsNoCache) {
  const fs::path probe = outer_.path() / "probe";
  for (const mode_t mode : {04755, 02755, 06755}) {
    fs::copy_file(KILN_OPEN_PROBE, probe, fs::copy_options::overwrite_existing);
    fs::create_directory(folder());
    for (const fs::path& path : {probe, folder()}) {
      ASSERT_EQ(chown(path.c_str(), kUser, kUser), 0);
    }
    ASSERT_EQ(chmod(folder().c_str(), 0700), 0);
    ASSERT_EQ(chmod(probe.c_str(), mode), 0);
    const std::string command = fmt::format("{} {}", probe.string(), folder().string());
    FILE* const output = popen(command.c_str(), "r");
    ASSERT_NE(output, nullptr);
    char line[1024] = "";
    (void)!fgets(line, sizeof line, output);
    EXPECT_EQ(pclose(output), 1 << 8) << fmt::format("{:o}", mode);
    EXPECT_NE(std::string(line).find("set-user-id"), std::string::npos) << line;
    EXPECT_TRUE(fs::is_empty(folder()));
    fs::remove_all(folder());
    fs::remove(probe);
  }
}

}  // namespace
}  // namespace kiln::test
