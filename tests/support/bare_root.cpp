// SPDX-License-Identifier: Apache-2.0
// bare_root FOLDER PROGRAM ARGUMENT...: runs a program in a mount namespace whose root is FOLDER:
// nothing else of this machine is there but /proc. Exit 77 with the reason where that is not
// permitted.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace {

constexpr int kNotPermitted = 77;

int not_permitted(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  return kNotPermitted;
}

bool write_file(const char* path, const std::string& text) {
  const int file = open(path, O_WRONLY);
  if (file < 0) return false;
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(file);
  return written;
}

// As root in its own right, or in a user namespace where this user is root.
bool leave_mounts() {
  if (unshare(CLONE_NEWNS) == 0) return true;
  const std::string user = "0 " + std::to_string(getuid()) + " 1";
  const std::string group = "0 " + std::to_string(getgid()) + " 1";
  return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_file("/proc/self/setgroups", "deny") &&
         write_file("/proc/self/uid_map", user) && write_file("/proc/self/gid_map", group);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  const std::string root = arguments[1];
  if (!leave_mounts()) return not_permitted("unshare");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount(root.c_str(), root.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0 ||
      mount("/proc", (root + "/proc").c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return not_permitted("mount");
  }
  if (chdir(root.c_str()) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 ||
      umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) {
    return not_permitted("pivot_root");
  }
  execv(arguments[2], arguments + 2);
  std::perror(arguments[2]);
  return 1;
}
