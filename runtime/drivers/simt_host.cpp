// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_host.h"

#include "runtime/drivers/simt_block.h"

namespace kiln {
namespace {

SimtThread& of(KilnSimtThread* thread) {
  return *reinterpret_cast<SimtThread*>(thread);
}
SimtBlock& block_of(const KilnSimtThread& thread) {
  return *static_cast<SimtBlock*>(thread.machine);
}

void block_barrier(KilnSimtThread* thread) {
  block_of(*thread).block_barrier(of(thread));
}
void named_barrier(KilnSimtThread* thread, int id, int threads) {
  block_of(*thread).named_barrier(of(thread), id, threads);
}

void meet(SimtThread& t, SimtOperation operation, std::uint64_t mask) {
  SimtWarps& warps = block_of(t.device).warps();
  warps.meet(t, operation, mask & warps.all_lanes());
}

void warp_barrier(KilnSimtThread* thread, unsigned long long mask) {
  meet(of(thread), SimtOperation::warp_barrier, mask);
}
unsigned shuffle(KilnSimtThread* thread, unsigned long long mask, unsigned value, int source) {
  SimtThread& t = of(thread);
  t.value = value;
  t.source = source;
  meet(t, SimtOperation::shuffle, mask);
  return static_cast<unsigned>(t.value);
}
unsigned long long ballot(KilnSimtThread* thread, unsigned long long mask, int vote) {
  SimtThread& t = of(thread);
  t.value = vote != 0 ? 1 : 0;
  meet(t, SimtOperation::ballot, mask);
  return t.value;
}
unsigned warp_uniform(KilnSimtThread* thread, unsigned value) {
  SimtThread& t = of(thread);
  t.value = value;
  meet(t, SimtOperation::warp_uniform, ~0ULL);
  return value;
}
void matrix(KilnSimtThread* thread, KilnSimtMatrix kind, const KilnSimtMatrixOperands* operands) {
  SimtThread& t = of(thread);
  t.operands = operands;
  t.source = static_cast<int>(kind);
  meet(t, SimtOperation::matrix, ~0ULL);
}
void load_matrix(KilnSimtThread* thread, const KilnSimtMatrixLoad* load) {
  SimtThread& t = of(thread);
  t.load = load;
  meet(t, SimtOperation::load_matrix, ~0ULL);
}
void matrix_value(KilnSimtThread* thread, KilnSimtMatrix kind, int i, int row, int column) {
  block_of(*thread).warps().check_value(of(thread), kind, i, {row, column});
}

void* shared_static(KilnSimtThread* thread, const void* key, const char* name,
                    unsigned long long bytes) {
  return block_of(*thread).memory().static_array(of(thread), key, name, bytes);
}
void* shared_dynamic(KilnSimtThread* thread, const char* name, long long offset_bytes,
                     unsigned long long bytes) {
  return block_of(*thread).memory().dynamic_array(of(thread), name, offset_bytes, bytes);
}

void async_copy(KilnSimtThread* thread, void* to, const void* from, int bytes, int valid) {
  block_of(*thread).memory().start_copy(of(thread), to, valid != 0 ? from : nullptr, bytes);
}
void async_commit(KilnSimtThread* thread) {
  ++of(thread).commits;
}
void async_wait(KilnSimtThread* thread, int pending) {
  block_of(*thread).memory().finish_copies(of(thread), static_cast<unsigned>(pending));
}

int shared_access(KilnSimtThread* thread, const KilnSimtAccess* access) {
  return block_of(*thread).memory().shared_access(of(thread), *access,
                                                  SimtSharedCheck::Flight::none)
             ? 1
             : 0;
}
int global_access(KilnSimtThread* thread, const KilnSimtAccess* access,
                  const KilnSimtRange* range) {
  return block_of(*thread).memory().global_access(of(thread), *access, range) ? 1 : 0;
}
int async_copy_access(KilnSimtThread* thread, const KilnSimtAccess* to) {
  return block_of(*thread).memory().shared_access(of(thread), *to, SimtSharedCheck::Flight::copy)
             ? 1
             : 0;
}
const KilnSimtRange* global_range(KilnSimtThread* thread, const void* address) {
  return block_of(*thread).launch().ranges->find(reinterpret_cast<unsigned long long>(address));
}

}  // namespace

const KilnSimtHost* simt_host() {
  static constexpr KilnSimtHost kHost = {
      .size_bytes = sizeof(KilnSimtHost),
      .block_barrier = block_barrier,
      .named_barrier = named_barrier,
      .warp_barrier = warp_barrier,
      .shuffle = shuffle,
      .ballot = ballot,
      .warp_uniform = warp_uniform,
      .matrix = matrix,
      .load_matrix = load_matrix,
      .matrix_value = matrix_value,
      .shared_static = shared_static,
      .shared_dynamic = shared_dynamic,
      .async_copy = async_copy,
      .async_commit = async_commit,
      .async_wait = async_wait,
      .shared_access = shared_access,
      .global_access = global_access,
      .async_copy_access = async_copy_access,
      .global_range = global_range,
  };
  return &kHost;
}

}  // namespace kiln
