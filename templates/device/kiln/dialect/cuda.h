// SPDX-License-Identifier: Apache-2.0
// The primitives on NVIDIA: NVRTC's built-in functions and inline PTX. sm_80 and later.
#pragma once

#include "kiln/base.h"

#ifndef KILN_SM
#error "KILN_SM is the chip's number times ten: 800 for sm_80, 900 for sm_90a"
#endif
static_assert(KILN_SM >= 800, "kernels for NVIDIA need sm_80 or later");

#define KILN_KERNEL(threads_max, blocks_min) \
  __global__ void __launch_bounds__(threads_max, blocks_min)
// Read where the driver put it: no copy to the stack even if its address is taken.
#define KILN_PARAMS(type) const __grid_constant__ type

#define KILN_SHARED(type, name, count)                   \
  __shared__ __align__(16) type name##_storage[(count)]; \
  const ::kiln::Shared<type> name {                      \
    name##_storage                                       \
  }
#define KILN_SHARED_DYNAMIC(type, name, offset_bytes, count)         \
  extern __shared__ __align__(16) unsigned char kiln_shared_bytes[]; \
  const ::kiln::Shared<type> name {                                  \
    reinterpret_cast<type*>(kiln_shared_bytes + (offset_bytes))      \
  }

namespace kiln::dialect {

using LaneMask = u32;
using Index = i64;

inline constexpr bool has_named_barriers = true;
inline constexpr bool has_async_copy = true;
inline constexpr bool has_dependent_launch = KILN_SM >= 900;

KILN_DEVICE u32 thread_x() {
  return threadIdx.x;
}
KILN_DEVICE u32 thread_y() {
  return threadIdx.y;
}
KILN_DEVICE u32 thread_z() {
  return threadIdx.z;
}
KILN_DEVICE u32 block_x() {
  return blockIdx.x;
}
KILN_DEVICE u32 block_y() {
  return blockIdx.y;
}
KILN_DEVICE u32 block_z() {
  return blockIdx.z;
}
KILN_DEVICE u32 threads_x() {
  return blockDim.x;
}
KILN_DEVICE u32 threads_y() {
  return blockDim.y;
}
KILN_DEVICE u32 threads_z() {
  return blockDim.z;
}
KILN_DEVICE u32 blocks_x() {
  return gridDim.x;
}
KILN_DEVICE u32 blocks_y() {
  return gridDim.y;
}
KILN_DEVICE u32 blocks_z() {
  return gridDim.z;
}

// A value that is the same in all lanes of the warp, said so to the compiler.
KILN_DEVICE u32 warp_uniform(u32 value) {
  return __shfl_sync(0xffffffffu, value, 0);
}

KILN_DEVICE void block_barrier() {
  __syncthreads();
}
KILN_DEVICE void warp_barrier(LaneMask mask) {
  __syncwarp(mask);
}
KILN_DEVICE void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// For those who do not wait.
KILN_DEVICE void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

KILN_DEVICE u32 shuffle_xor(LaneMask mask, u32 value, int lane_mask, int width) {
  return __shfl_xor_sync(mask, value, lane_mask, width);
}
KILN_DEVICE u32 shuffle_down(LaneMask mask, u32 value, int delta, int width) {
  return __shfl_down_sync(mask, value, delta, width);
}
KILN_DEVICE u32 shuffle_idx(LaneMask mask, u32 value, int source, int width) {
  return __shfl_sync(mask, value, source, width);
}
KILN_DEVICE LaneMask ballot(LaneMask mask, bool vote) {
  return __ballot_sync(mask, vote);
}

// Raw words, by the number of bytes that move at once.
template <int bytes>
struct WordOf;
template <>
struct WordOf<2> {
  using type = unsigned short;
};
template <>
struct WordOf<4> {
  using type = unsigned int;
};
template <>
struct WordOf<8> {
  using type = uint2;
};
template <>
struct WordOf<16> {
  using type = uint4;
};
template <int bytes>
using Word = typename WordOf<bytes>::type;

template <class W>
KILN_DEVICE W load_readonly(const W* from) {
  return __ldg(from);
}
template <class W>
KILN_DEVICE W load_streaming(const W* from) {
  return __ldcs(from);
}
template <class W>
KILN_DEVICE void store_streaming(W* to, W value) {
  __stcs(to, value);
}

template <class T>
KILN_DEVICE T atomic_add(T* to, T value) {
  return atomicAdd(to, value);
}
KILN_DEVICE i64 atomic_add(i64* to, i64 value) {
  return static_cast<i64>(atomicAdd(reinterpret_cast<u64*>(to), static_cast<u64>(value)));
}
template <class T>
KILN_DEVICE T atomic_min(T* to, T value) {
  return atomicMin(to, value);
}
template <class T>
KILN_DEVICE T atomic_max(T* to, T value) {
  return atomicMax(to, value);
}
template <class T>
KILN_DEVICE T atomic_exchange(T* to, T value) {
  return atomicExch(to, value);
}
template <class T>
KILN_DEVICE T atomic_compare_exchange(T* to, T expected, T value) {
  return atomicCAS(to, expected, value);
}
// Orders this thread's writes before it against those after it, for all of the device.
KILN_DEVICE void device_fence() {
  __threadfence();
}

KILN_DEVICE u32 shared_address(const void* shared) {
  return static_cast<u32>(__cvta_generic_to_shared(shared));
}
// ldmatrix from this lane's row.
template <bool flip, class Word, int count>
KILN_DEVICE void load_matrix(Word (&words)[count], u32 row) {
  if constexpr (count == 4 && !flip) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0].bits), "=r"(words[1].bits), "=r"(words[2].bits),
                   "=r"(words[3].bits)
                 : "r"(row)
                 : "memory");
  } else if constexpr (count == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0].bits), "=r"(words[1].bits), "=r"(words[2].bits),
                   "=r"(words[3].bits)
                 : "r"(row)
                 : "memory");
  } else if constexpr (count == 2 && !flip) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0].bits), "=r"(words[1].bits)
                 : "r"(row)
                 : "memory");
  } else if constexpr (count == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0].bits), "=r"(words[1].bits)
                 : "r"(row)
                 : "memory");
  } else if constexpr (!flip) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(words[0].bits)
                 : "r"(row)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(words[0].bits)
                 : "r"(row)
                 : "memory");
  }
}

KILN_DEVICE u32 transpose_8x8(u32 bits) {
  u32 result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(bits));
  return result;
}

// `bytes` 4, 8 or 16; where not `valid`, nothing is read and zeros are written.
template <int bytes>
KILN_DEVICE void async_copy_to(u32 to, const void* global, bool valid) {
  const u64 from = __cvta_generic_to_global(global);
  const u32 read = valid ? bytes : 0;
  if constexpr (bytes == 16) {  // past L1, which only this size can do
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(read)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(bytes),
                 "r"(read)
                 : "memory");
  }
}
template <int bytes>
KILN_DEVICE void async_copy(void* shared, const void* global, bool valid) {
  async_copy_to<bytes>(shared_address(shared), global, valid);
}
KILN_DEVICE void async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int pending>
KILN_DEVICE void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

KILN_DEVICE void dependency_wait() {
#if KILN_SM >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
KILN_DEVICE void launch_dependents() {
#if KILN_SM >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace kiln::dialect
