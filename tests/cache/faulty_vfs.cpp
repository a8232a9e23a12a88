// SPDX-License-Identifier: Apache-2.0
#include "tests/cache/faulty_vfs.h"

#include <signal.h>
#include <sqlite3.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace kiln::test {
namespace {

using Fault = FaultyVfs::Fault;
using Operations = FaultyVfs::Operations;

std::atomic<Fault> fault{Fault::none};
std::atomic<Operations> operations{Operations::writes};
std::atomic<int> first{0};
std::atomic<int> done{0};
std::function<void()> visitor;

// What the operation returns in place of being done; SQLITE_OK: it is to be done.
int meet(Operations kind, int io_code) {
  if (operations != Operations::all && operations != kind) return SQLITE_OK;
  if (++done < first) return SQLITE_OK;
  switch (fault.load()) {
    case Fault::none:
      return SQLITE_OK;
    case Fault::visit:
      if (visitor) std::exchange(visitor, nullptr)();
      return SQLITE_OK;
    case Fault::kill:
      raise(SIGKILL);
      return SQLITE_OK;
    case Fault::disk_full:
      return SQLITE_FULL;
    case Fault::io_error:
    case Fault::quota:
      return io_code;
  }
  return SQLITE_OK;
}

struct File {
  sqlite3_file base;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

File* file_of(sqlite3_file* file) {
  return reinterpret_cast<File*>(file);
}
const sqlite3_io_methods& methods(sqlite3_file* file) {
  return *file_of(file)->real()->pMethods;
}

// Passes the call on, after asking whether it meets the fault.
#define KILN_PASS(name, parameters, arguments)                  \
  int name parameters {                                         \
    return methods(file).name(file_of(file)->real() arguments); \
  }
#define KILN_MEET(name, kind, code, parameters, arguments)      \
  int name parameters {                                         \
    if (const int met = meet(kind, code)) return met;           \
    return methods(file).name(file_of(file)->real() arguments); \
  }
#define KILN_COMMA ,

KILN_PASS(xClose, (sqlite3_file * file), )
KILN_MEET(xRead, Operations::reads, SQLITE_IOERR_READ,
          (sqlite3_file * file, void* data, int size, sqlite3_int64 offset),
          KILN_COMMA data KILN_COMMA size KILN_COMMA offset)
KILN_MEET(xWrite, Operations::writes, SQLITE_IOERR_WRITE,
          (sqlite3_file * file, const void* data, int size, sqlite3_int64 offset),
          KILN_COMMA data KILN_COMMA size KILN_COMMA offset)
KILN_MEET(xTruncate, Operations::writes, SQLITE_IOERR_TRUNCATE,
          (sqlite3_file * file, sqlite3_int64 size), KILN_COMMA size)
KILN_MEET(xSync, Operations::writes, SQLITE_IOERR_FSYNC, (sqlite3_file * file, int flags),
          KILN_COMMA flags)
KILN_PASS(xFileSize, (sqlite3_file * file, sqlite3_int64* size), KILN_COMMA size)
KILN_PASS(xLock, (sqlite3_file * file, int level), KILN_COMMA level)
KILN_PASS(xUnlock, (sqlite3_file * file, int level), KILN_COMMA level)
KILN_PASS(xCheckReservedLock, (sqlite3_file * file, int* result), KILN_COMMA result)
KILN_PASS(xFileControl, (sqlite3_file * file, int what, void* argument),
          KILN_COMMA what KILN_COMMA argument)
KILN_PASS(xSectorSize, (sqlite3_file * file), )
KILN_PASS(xDeviceCharacteristics, (sqlite3_file * file), )
KILN_MEET(xShmMap, Operations::writes, SQLITE_IOERR_SHMMAP,
          (sqlite3_file * file, int page, int size, int extend, void volatile** map),
          KILN_COMMA page KILN_COMMA size KILN_COMMA extend KILN_COMMA map)
// The locks of shared memory do not touch the disk: nothing but a kill can come in between.
int xShmLock(sqlite3_file* file, int offset, int count, int flags) {
  if (fault == Fault::kill || fault == Fault::visit) (void)meet(Operations::writes, SQLITE_OK);
  return methods(file).xShmLock(file_of(file)->real(), offset, count, flags);
}
void xShmBarrier(sqlite3_file* file) {
  methods(file).xShmBarrier(file_of(file)->real());
}
KILN_PASS(xShmUnmap, (sqlite3_file * file, int remove), KILN_COMMA remove)

// Version 2: no memory map, so that every read passes here.
constexpr sqlite3_io_methods kMethods = {2,
                                         xClose,
                                         xRead,
                                         xWrite,
                                         xTruncate,
                                         xSync,
                                         xFileSize,
                                         xLock,
                                         xUnlock,
                                         xCheckReservedLock,
                                         xFileControl,
                                         xSectorSize,
                                         xDeviceCharacteristics,
                                         xShmMap,
                                         xShmLock,
                                         xShmBarrier,
                                         xShmUnmap,
                                         nullptr,
                                         nullptr};

sqlite3_vfs* real_vfs = nullptr;
sqlite3_vfs faulty_vfs;

int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  const int code = real_vfs->xOpen(real_vfs, name, file_of(file)->real(), flags, out_flags);
  if (code == SQLITE_OK) file->pMethods = &kMethods;
  return code;
}

int delete_file(sqlite3_vfs*, const char* name, int sync) {
  if (const int met = meet(Operations::writes, SQLITE_IOERR_DELETE)) return met;
  return real_vfs->xDelete(real_vfs, name, sync);
}

int last_error(sqlite3_vfs*, int, char*) {
  return fault == Fault::quota ? EDQUOT : fault == Fault::io_error ? EIO : errno;
}

}  // namespace

FaultyVfs::FaultyVfs() {
  real_vfs = sqlite3_vfs_find(nullptr);
  faulty_vfs = *real_vfs;
  faulty_vfs.zName = "kiln-faulty";
  faulty_vfs.szOsFile = static_cast<int>(sizeof(File)) + real_vfs->szOsFile;
  faulty_vfs.xOpen = open_file;
  faulty_vfs.xDelete = delete_file;
  faulty_vfs.xGetLastError = last_error;
  set(Fault::none, 0);
  if (sqlite3_vfs_register(&faulty_vfs, 1) != SQLITE_OK) throw std::runtime_error("vfs");
}

FaultyVfs::~FaultyVfs() {
  sqlite3_vfs_register(real_vfs, 1);
  sqlite3_vfs_unregister(&faulty_vfs);
}

void FaultyVfs::set(Fault what, int nth, Operations which) {
  fault = what;
  operations = which;
  first = nth;
  done = 0;
}

void FaultyVfs::visit_before(int nth, std::function<void()> visit) {
  visitor = std::move(visit);
  set(Fault::visit, nth, Operations::all);
}

int FaultyVfs::count() const {
  return done;
}

}  // namespace kiln::test
