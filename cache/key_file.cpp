// SPDX-License-Identifier: Apache-2.0
#include "cache/key_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "jit/base/handle.h"

namespace kiln {
namespace {

constexpr off_t kBytesMax = 1 << 20;

tl::unexpected<Error> refuse(const std::filesystem::path& path, std::string_view why) {
  return fail(ErrorCode::cache_failed, fmt::format("'{}' is refused: {}", path.string(), why));
}

tl::unexpected<Error> failed(const char* what, const std::filesystem::path& path) {
  const ErrorCode code = errno == ENOENT ? ErrorCode::unavailable : ErrorCode::cache_failed;
  return fail(code, fmt::format("cannot {} '{}': {}", what, path.string(), std::strerror(errno)));
}

Result<void> check_writers(const std::filesystem::path& path, const struct stat& status,
                           KeyFileKind kind) {
  const bool root_will_do = kind == KeyFileKind::list && status.st_uid == 0;
  if (status.st_uid != geteuid() && !root_will_do) {
    return refuse(path, fmt::format("it belongs to user {} and this process runs as user {}",
                                    status.st_uid, geteuid()));
  }
  const mode_t forbidden =
      kind == KeyFileKind::secret && S_ISREG(status.st_mode) ? 0077 : S_IWGRP | S_IWOTH;
  if (!(status.st_mode & forbidden)) return {};
  return refuse(path,
                fmt::format("its mode is {:04o}, so others could {} it; run: chmod go-{} '{}'",
                            status.st_mode & 07777, forbidden == 0077 ? "read" : "change",
                            forbidden == 0077 ? "rwx" : "w", path.string()));
}

Result<void> make_folders(const std::filesystem::path& folder) {
  std::filesystem::path made;
  for (const std::filesystem::path& part : folder) {
    made /= part;
    if (mkdir(made.c_str(), 0700) != 0 && errno != EEXIST && !std::filesystem::exists(made)) {
      return failed("make the folder", made);
    }
  }
  return {};
}

Result<void> write_all(const Fd& fd, const std::string& text, const std::filesystem::path& file) {
  if (write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      fsync(fd.get()) == 0) {
    return {};
  }
  return failed("write", file);
}

}  // namespace

Result<std::string> read_key_file(const std::filesystem::path& file, KeyFileKind kind) {
  // What is checked is what was opened; O_NONBLOCK, since a pipe would hang.
  const Fd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ELOOP) return refuse(file, "it is a symbolic link; name the file itself");
  if (!fd) return failed("read", file);
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return failed("read", file);
  if (!S_ISREG(status.st_mode)) return refuse(file, "it is not a regular file");
  KILN_TRY(check_writers(file, status, kind));
  if (status.st_size > kBytesMax) {
    return refuse(
        file, fmt::format("it has {} bytes and at most {} are read", status.st_size, kBytesMax));
  }
  struct stat folder_status;
  const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
  if (stat(folder.c_str(), &folder_status) != 0) return failed("read", folder);
  KILN_TRY(check_writers(folder, folder_status, KeyFileKind::list));
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  const ssize_t got = pread(fd.get(), text.data(), text.size(), 0);
  if (got < 0) return failed("read", file);
  text.resize(static_cast<std::size_t>(got));
  return text;
}

Result<void> create_key_file(const std::filesystem::path& file, const std::string& text) {
  KILN_TRY(make_folders(std::filesystem::absolute(file).parent_path()));
  const Fd fd(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd && errno == EEXIST) {
    return fail(
        ErrorCode::cache_failed,
        fmt::format("'{}' exists and is not overwritten; name another file, or move it away",
                    file.string()));
  }
  if (!fd) return failed("make", file);
  const auto written = write_all(fd, text, file);
  if (!written) unlink(file.c_str());
  return written;
}

Result<void> append_key_file(const std::filesystem::path& file, const std::string& text) {
  KILN_TRY(make_folders(std::filesystem::absolute(file).parent_path()));
  const Fd fd(
      open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat status;
  if (!fd || fstat(fd.get(), &status) != 0) return failed("write", file);
  // An editor may have left the last line without its end.
  char last = '\n';
  if (status.st_size > 0 && pread(fd.get(), &last, 1, status.st_size - 1) != 1) {
    return failed("read", file);
  }
  return write_all(fd, last == '\n' ? text : '\n' + text, file);
}

}  // namespace kiln
