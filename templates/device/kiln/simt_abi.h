// SPDX-License-Identifier: Apache-2.0
// The launch ABI of GPU kernels that run on the CPU as a SIMT machine (arch simt). Read by the
// kernels (compiled with no system header) and by the SIMT driver alike, so it holds plain C types
// only. Kernels link against nothing: all that they cannot do by themselves is in KilnSimtHost.
#pragma once

// Each thread of a block is a fiber with a stack of its own. All stacks of a worker lie in one
// aligned region, so that a kernel finds its thread by its stack pointer alone: slot number s of
// the region is a stack, and the thread's record is the s-th from the region's start.
constexpr unsigned long long kKilnSimtStackBytes = 256ULL << 10;
constexpr unsigned long long kKilnSimtSlots = 2048;
constexpr unsigned long long kKilnSimtRegionBytes = kKilnSimtStackBytes * kKilnSimtSlots;
// An odd number of cache lines: threads side by side fall into different sets of the cache.
constexpr unsigned long long kKilnSimtThreadBytes = 7 * 64;

constexpr unsigned kKilnSimtAbiVersion = 3;

// Stands in each object, found there by its first 16 bytes: what the driver must know before it
// calls the kernel.
struct KilnSimtMark {
  char magic[16];
  unsigned abi_version;
  unsigned warp_size;  // 32 or 64
  unsigned checked;
  unsigned debug;
};
constexpr char kKilnSimtMagic[16] = {'k', 'i', 'l', 'n', ' ', 's', 'i',  'm',
                                     't', ' ', 'm', 'a', 'r', 'k', '\n', '\0'};

// A place in a kernel's source.
struct KilnSimtSite {
  const char* file;
  unsigned line;
};

struct KilnSimtHost;

// What a kernel sees of its thread; the host's part follows it. What a barrier touches comes first,
// within one line of the cache.
struct KilnSimtThread {
  const KilnSimtHost* host;
  void* machine;      // the host's
  KilnSimtSite site;  // where it called the last function that takes one
  unsigned rank;      // in its block, x fastest
  unsigned thread[3];
  unsigned block[3];
  unsigned threads[3];  // per block
  unsigned blocks[3];   // in the grid
};

enum KilnSimtAccessKind : unsigned { kKilnSimtRead, kKilnSimtWrite, kKilnSimtAtomic };
enum KilnSimtType : unsigned {  // how to print a value
  kKilnSimtFloat,
  kKilnSimtBf16,
  kKilnSimtF16,
  kKilnSimtSigned,
  kKilnSimtUnsigned,
  kKilnSimtBytes,
};

// One access, in the checked mode.
struct KilnSimtAccess {
  const void* address;
  const void* value;  // what is written; null for reads
  const char* array;  // the shared array's name; null in global memory
  long long index;    // of the first element, as the kernel wrote it
  long long count;    // elements of the shared array
  unsigned bytes;     // moved at once
  unsigned element_bytes;
  KilnSimtSite site;
  KilnSimtAccessKind kind;
  KilnSimtType type;
};

// One allocation that kernels may reach, in the checked mode.
struct KilnSimtRange {
  unsigned long long begin;
  unsigned long long end;
};

enum KilnSimtMatrix : unsigned {
  kKilnSimtMmaBf16,  // m16n8k16
  kKilnSimtMmaF16,
  kKilnSimtMfma16Bf16,  // 16x16x16
  kKilnSimtMfma32Bf16,  // 32x32x8
};

// Which element of which matrix a lane holds, in the checked mode.
struct KilnSimtOrigin {
  const char* array;  // the shared array that it was read from, if any
  int row;
  int column;
  KilnSimtSite site;  // where the kernel took it; no file: it did not say what it is
};

// This lane's part of d = a b + c. Where an origin is given, each 16-bit element has one.
struct KilnSimtMatrixOperands {
  const unsigned* a;
  const unsigned* b;
  const float* c;
  float* d;
  const KilnSimtOrigin* a_origins;  // null in the unchecked mode
  const KilnSimtOrigin* b_origins;
};

// ldmatrix: this lane's row of 8 elements, and the `count` words that it gets.
struct KilnSimtMatrixLoad {
  int count;
  int transpose;
  const unsigned* row;
  unsigned* words;
  const KilnSimtOrigin* row_origins;  // null in the unchecked mode
  KilnSimtOrigin* origins;
};

// Warp operations meet the lanes of `mask`; lanes are those of the thread's warp.
struct KilnSimtHost {
  unsigned size_bytes;  // of this struct as the host knows it
  void (*block_barrier)(KilnSimtThread* thread);
  void (*named_barrier)(KilnSimtThread* thread, int id, int threads);
  void (*warp_barrier)(KilnSimtThread* thread, unsigned long long mask);
  // The value of lane `source` of the warp.
  unsigned (*shuffle)(KilnSimtThread* thread, unsigned long long mask, unsigned value, int source);
  unsigned long long (*ballot)(KilnSimtThread* thread, unsigned long long mask, int vote);
  // `value`, which must be the same in all lanes. The checked mode alone asks.
  unsigned (*warp_uniform)(KilnSimtThread* thread, unsigned value);
  void (*matrix)(KilnSimtThread* thread, KilnSimtMatrix kind,
                 const KilnSimtMatrixOperands* operands);
  void (*load_matrix)(KilnSimtThread* thread, const KilnSimtMatrixLoad* load);
  // The kernel takes value i of this lane's part of d for (row, column). The checked mode alone
  // asks.
  void (*matrix_value)(KilnSimtThread* thread, KilnSimtMatrix kind, int i, int row, int column);

  // The block's array of this declaration, which `key` stands for.
  void* (*shared_static)(KilnSimtThread* thread, const void* key, const char* name,
                         unsigned long long bytes);
  void* (*shared_dynamic)(KilnSimtThread* thread, const char* name, long long offset_bytes,
                          unsigned long long bytes);

  // Copies arrive when async_wait says so.
  void (*async_copy)(KilnSimtThread* thread, void* to, const void* from, int bytes, int valid);
  void (*async_commit)(KilnSimtThread* thread);
  void (*async_wait)(KilnSimtThread* thread, int pending);

  // The checked mode. Each returns whether the access may be made.
  int (*shared_access)(KilnSimtThread* thread, const KilnSimtAccess* access);
  int (*global_access)(KilnSimtThread* thread, const KilnSimtAccess* access,
                       const KilnSimtRange* range);
  int (*async_copy_access)(KilnSimtThread* thread, const KilnSimtAccess* to);
  // The allocation that holds `address`, else null.
  const KilnSimtRange* (*global_range)(KilnSimtThread* thread, const void* address);
};

// An entry point, as each thread calls it; `params` points to the op's parameter struct.
typedef void (*KilnSimtEntry)(const void* params);
