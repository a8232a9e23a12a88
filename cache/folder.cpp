// SPDX-License-Identifier: Apache-2.0
#include "cache/folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace kiln {
namespace {

namespace fs = std::filesystem;

// From linux/magic.h and the file systems' own sources; many are in no header of this system.
constexpr std::uint32_t kNetworkTypes[] = {
    0x00006969,  // NFS
    0x0000517b,  // SMB
    0xff534d42,  // CIFS
    0xfe534d42,  // SMB2
    0x0bd00bd0,  // Lustre
    0x00c36400,  // Ceph
    0x47504653,  // GPFS
    0x01021997,  // 9p
    0x65735546,  // FUSE: sshfs, gcsfuse, s3fs, virtiofs
    0x5346414f,  // AFS
    0x6b414653,  // AFS of the kernel
    0x73757245,  // Coda
    0x0000564c,  // NCP
    0x19830326,  // BeeGFS
    0xaad7aaea,  // PanFS
    0x20030528,  // OrangeFS
    0x01161970,  // GFS2
    0x7461636f,  // OCFS2
    0x786f4256,  // VirtualBox shared folder
    0xbacbacbc,  // VMware shared folder
};

tl::unexpected<Error> refuse(const fs::path& path, std::string_view why) {
  return fail(ErrorCode::cache_failed,
              fmt::format("cache '{}' is refused: {}", path.string(), why));
}

// lstat() of "link/" follows the link, so no trailing slash may stay.
fs::path absolute_without_slash(const fs::path& folder) {
  fs::path path = fs::absolute(folder).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

Result<void> create_with_parents(const fs::path& folder) {
  fs::path path;
  for (const fs::path& part : folder) {
    path /= part;
    if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) continue;
    const int error = errno;
    struct stat status;
    // Some file systems answer EROFS or EACCES for a folder that is there.
    if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
    return fail(ErrorCode::cache_failed,
                fmt::format("cannot create the cache folder '{}': '{}': {}", folder.string(),
                            path.string(), std::strerror(error)));
  }
  return {};
}

// The part of the rules that folders and files share.
Result<void> check_owner_and_mode(const fs::path& path, const struct stat& status,
                                  StoreAccess access) {
  const uid_t user = geteuid();
  const bool root_will_do = access != StoreAccess::read_write && status.st_uid == 0;
  if (status.st_uid != user && !root_will_do) {
    return refuse(path, fmt::format("it belongs to user {} and this process runs as user {}; set "
                                    "KILN_CACHE_DIR to a folder of your own",
                                    status.st_uid, user));
  }
  if (status.st_mode & (S_IWGRP | S_IWOTH)) {
    const char* safe_mode = S_ISDIR(status.st_mode) ? "700" : "600";
    return refuse(path, fmt::format("its mode is {:04o}, so others could plant code in it; run: "
                                    "chmod {} '{}'",
                                    status.st_mode & 07777, safe_mode, path.string()));
  }
  return {};
}

}  // namespace

Result<fs::path> trusted_folder(const fs::path& folder, StoreAccess access) {
  if (getauxval(AT_SECURE) != 0) {
    return refuse(folder, "this process has more rights than its user (set-user-id or the like)");
  }
  if (folder.empty()) return refuse(folder, "its name is empty; name a folder of your own");
  const fs::path path = absolute_without_slash(folder);
  struct stat status;
  bool exists = lstat(path.c_str(), &status) == 0;
  if (!exists && access == StoreAccess::read_write) {
    KILN_TRY(create_with_parents(path));
    exists = lstat(path.c_str(), &status) == 0;
  }
  if (!exists) {
    return fail(ErrorCode::cache_failed, fmt::format("cannot open the cache folder '{}': {}",
                                                     path.string(), std::strerror(errno)));
  }
  if (S_ISLNK(status.st_mode)) {
    return refuse(path, "it is a symbolic link; name the folder that it leads to");
  }
  if (!S_ISDIR(status.st_mode)) return refuse(path, "it is not a folder");
  KILN_TRY(check_owner_and_mode(path, status, access));
  return path;
}

Result<void> check_trusted_file(const fs::path& file, StoreAccess access) {
  struct stat status;
  if (lstat(file.c_str(), &status) != 0) return {};
  if (!S_ISREG(status.st_mode)) {
    return refuse(file, "it is not a regular file; move it away");
  }
  return check_owner_and_mode(file, status, access);
}

bool is_writable(const fs::path& folder) {
  return faccessat(AT_FDCWD, folder.c_str(), W_OK, AT_EACCESS) == 0;
}

FileSystemKind kind_of_type(long type) {
  const auto magic = static_cast<std::uint32_t>(type);  // some have the sign bit of 32 bits
  const bool found = std::find(std::begin(kNetworkTypes), std::end(kNetworkTypes), magic) !=
                     std::end(kNetworkTypes);
  return found ? FileSystemKind::network : FileSystemKind::local;
}

FileSystemKind file_system_kind(const fs::path& folder) {
  struct statfs status;
  // Unknown: the careful way works everywhere.
  if (statfs(folder.c_str(), &status) != 0) return FileSystemKind::network;
  return kind_of_type(status.f_type);
}

}  // namespace kiln
