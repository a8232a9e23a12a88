// SPDX-License-Identifier: Apache-2.0
// A file system below SQLite that fails, or ends the process, at the n-th operation that changes
// something: what a failing disk, a quota or a kill does to a store, at every step of it.
#pragma once

#include <functional>

namespace kiln::test {

// While it lives, SQLite's default file system is the faulty one. One at a time. Databases that are
// opened meanwhile must be closed before it ends.
class FaultyVfs {
 public:
  enum class Fault { none, io_error, quota, disk_full, kill, visit };
  enum class Operations { writes, reads, all };

  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  // From the `nth` (1: the next) of `operations` on, each of them meets `fault`. Shared with no
  // other process: a forked child counts on its own.
  void set(Fault fault, int nth, Operations operations = Operations::writes);
  // Calls `visit` once, before the `nth` operation of any kind, locks of shared memory included.
  void visit_before(int nth, std::function<void()> visit);
  // How many of the operations there were since set().
  int count() const;
};

}  // namespace kiln::test
