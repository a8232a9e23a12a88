// SPDX-License-Identifier: Apache-2.0
// The primitives on AMD, by clang's AMDGPU builtins: the same text for hipRTC and for clang with
// `-x hip --cuda-device-only -nogpuinc -nogpulib`. The archs decide what a name of the arch cannot
// say: KILN_WARP_SIZE is 64 for gfx9, 32 for gfx10 and later.
#pragma once

#include "kiln/base.h"

#define KILN_KERNEL(threads_max, blocks_min) \
  __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, threads_max))) void
#define KILN_PARAMS(type) const type

#define KILN_SHARED(type, name, count)                                      \
  static __attribute__((shared, aligned(16))) type name##_storage[(count)]; \
  const ::kiln::Shared<type> name {                                         \
    name##_storage                                                          \
  }
#define KILN_SHARED_DYNAMIC(type, name, offset_bytes, count)                     \
  extern __attribute__((shared, aligned(16))) unsigned char kiln_shared_bytes[]; \
  const ::kiln::Shared<type> name {                                              \
    reinterpret_cast<type*>(kiln_shared_bytes + (offset_bytes))                  \
  }

namespace kiln::dialect {

#if KILN_WARP_SIZE == 64
using LaneMask = u64;
#else
using LaneMask = u32;
#endif
using Index = i64;

inline constexpr bool has_named_barriers = false;
inline constexpr bool has_async_copy = false;
inline constexpr bool has_dependent_launch = false;

KILN_DEVICE u32 thread_x() {
  return __builtin_amdgcn_workitem_id_x();
}
KILN_DEVICE u32 thread_y() {
  return __builtin_amdgcn_workitem_id_y();
}
KILN_DEVICE u32 thread_z() {
  return __builtin_amdgcn_workitem_id_z();
}
KILN_DEVICE u32 block_x() {
  return __builtin_amdgcn_workgroup_id_x();
}
KILN_DEVICE u32 block_y() {
  return __builtin_amdgcn_workgroup_id_y();
}
KILN_DEVICE u32 block_z() {
  return __builtin_amdgcn_workgroup_id_z();
}
KILN_DEVICE u32 threads_x() {
  return __builtin_amdgcn_workgroup_size_x();
}
KILN_DEVICE u32 threads_y() {
  return __builtin_amdgcn_workgroup_size_y();
}
KILN_DEVICE u32 threads_z() {
  return __builtin_amdgcn_workgroup_size_z();
}
// The builtin counts threads, whole blocks of them: HIP allows no partial block.
KILN_DEVICE u32 blocks_x() {
  return __builtin_amdgcn_grid_size_x() / threads_x();
}
KILN_DEVICE u32 blocks_y() {
  return __builtin_amdgcn_grid_size_y() / threads_y();
}
KILN_DEVICE u32 blocks_z() {
  return __builtin_amdgcn_grid_size_z() / threads_z();
}

// A value that is the same in all lanes of the warp, moved to a scalar register.
KILN_DEVICE u32 warp_uniform(u32 value) {
  return static_cast<u32>(__builtin_amdgcn_readfirstlane(static_cast<int>(value)));
}

KILN_DEVICE void block_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
// Lanes run in step; what is left to do is to keep the compiler from moving memory accesses.
KILN_DEVICE void warp_barrier(LaneMask) {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
KILN_DEVICE void named_barrier(int, int) {}

KILN_DEVICE int lane_in_warp() {
#if KILN_WARP_SIZE == 64
  return static_cast<int>(__builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u)));
#else
  return static_cast<int>(__builtin_amdgcn_mbcnt_lo(~0u, 0u));
#endif
}
KILN_DEVICE u32 read_lane(u32 value, int lane) {
  return static_cast<u32>(__builtin_amdgcn_ds_bpermute(lane << 2, static_cast<int>(value)));
}
KILN_DEVICE u32 shuffle_xor(LaneMask, u32 value, int lane_mask, int width) {
  const int lane = lane_in_warp();
  const int source = lane ^ lane_mask;
  return read_lane(value, source < ((lane + width) & -width) ? source : lane);
}
KILN_DEVICE u32 shuffle_down(LaneMask, u32 value, int delta, int width) {
  const int lane = lane_in_warp();
  return read_lane(value, (lane & (width - 1)) + delta < width ? lane + delta : lane);
}
KILN_DEVICE u32 shuffle_idx(LaneMask, u32 value, int source, int width) {
  return read_lane(value, (lane_in_warp() & -width) + (source & (width - 1)));
}
KILN_DEVICE LaneMask ballot(LaneMask mask, bool vote) {
#if !__has_builtin(__builtin_amdgcn_ballot_w64)  // clang 15, which hipRTC 5 is
  constexpr int not_equal = 33;                  // llvm::CmpInst::ICMP_NE
  return static_cast<LaneMask>(__builtin_amdgcn_uicmp(vote ? 1u : 0u, 0u, not_equal)) & mask;
#elif KILN_WARP_SIZE == 64
  return __builtin_amdgcn_ballot_w64(vote) & mask;
#else
  return __builtin_amdgcn_ballot_w32(vote) & mask;
#endif
}

// Raw words, by the number of bytes that move at once.
template <int bytes>
struct WordOf;
template <>
struct WordOf<2> {
  using type = u16;
};
template <>
struct WordOf<4> {
  using type = u32;
};
template <>
struct WordOf<8> {
  typedef u32 type __attribute__((ext_vector_type(2)));
};
template <>
struct WordOf<16> {
  typedef u32 type __attribute__((ext_vector_type(4)));
};
template <int bytes>
using Word = typename WordOf<bytes>::type;

template <class W>
KILN_DEVICE W load_readonly(const W* from) {
  return *from;
}
template <class W>
KILN_DEVICE W load_streaming(const W* from) {
  return __builtin_nontemporal_load(from);
}
template <class W>
KILN_DEVICE void store_streaming(W* to, W value) {
  __builtin_nontemporal_store(value, to);
}

template <class T>
KILN_DEVICE T atomic_add(T* to, T value) {
  return __hip_atomic_fetch_add(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
template <class T>
KILN_DEVICE T atomic_min(T* to, T value) {
  return __hip_atomic_fetch_min(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
template <class T>
KILN_DEVICE T atomic_max(T* to, T value) {
  return __hip_atomic_fetch_max(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
template <class T>
KILN_DEVICE T atomic_exchange(T* to, T value) {
  return __hip_atomic_exchange(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
template <class T>
KILN_DEVICE T atomic_compare_exchange(T* to, T expected, T value) {
  __hip_atomic_compare_exchange_strong(to, &expected, value, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                       __HIP_MEMORY_SCOPE_AGENT);
  return expected;
}
// Orders this thread's writes before it against those after it, for all of the device.
KILN_DEVICE void device_fence() {
  __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent");
}

// No asynchronous copy engine: the copy is made at once, and waiting is free.
template <int bytes>
KILN_DEVICE void async_copy(void* shared, const void* global, bool valid) {
  const Word<bytes> zero = {};
  *static_cast<Word<bytes>*>(shared) = valid ? *static_cast<const Word<bytes>*>(global) : zero;
}
KILN_DEVICE void async_commit() {}
template <int pending>
KILN_DEVICE void async_wait() {}

KILN_DEVICE void dependency_wait() {}
KILN_DEVICE void launch_dependents() {}

}  // namespace kiln::dialect
