// SPDX-License-Identifier: Apache-2.0
// What stands before every source for AMDGPU, as hipRTC has its own header there: the words of HIP
// that a kernel cannot be written without, so that a source goes to either compiler. Kiln's own
// kernels need none of it.
#pragma once

namespace kiln {

inline constexpr const char* kHipPreludeName = "kiln_hip_prelude.h";
inline constexpr const char* kHipPrelude = R"(#pragma once
#define __host__ __attribute__((host))
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(threads_max, ...) \
  __attribute__((amdgpu_flat_work_group_size(1, threads_max)))

namespace kiln_hip {
template <unsigned (*x_of)(), unsigned (*y_of)(), unsigned (*z_of)()>
struct Numbers {
  template <unsigned (*of)()>
  struct Number {
    __device__ __forceinline__ operator unsigned() const { return of(); }
  };
  Number<x_of> x;
  Number<y_of> y;
  Number<z_of> z;
};
#define KILN_HIP_NUMBERS(name, axis, value) \
  __device__ __forceinline__ unsigned name##_##axis() { return value; }
#define KILN_HIP_AXIS(axis)                                                  \
  KILN_HIP_NUMBERS(thread, axis, __builtin_amdgcn_workitem_id_##axis())      \
  KILN_HIP_NUMBERS(block, axis, __builtin_amdgcn_workgroup_id_##axis())      \
  KILN_HIP_NUMBERS(threads, axis, __builtin_amdgcn_workgroup_size_##axis())  \
  KILN_HIP_NUMBERS(blocks, axis, __builtin_amdgcn_grid_size_##axis() / threads_##axis())
KILN_HIP_AXIS(x)
KILN_HIP_AXIS(y)
KILN_HIP_AXIS(z)
#undef KILN_HIP_AXIS
#undef KILN_HIP_NUMBERS
}  // namespace kiln_hip

static __device__ constexpr kiln_hip::Numbers<kiln_hip::thread_x, kiln_hip::thread_y,
                                              kiln_hip::thread_z> threadIdx{};
static __device__ constexpr kiln_hip::Numbers<kiln_hip::block_x, kiln_hip::block_y,
                                              kiln_hip::block_z> blockIdx{};
static __device__ constexpr kiln_hip::Numbers<kiln_hip::threads_x, kiln_hip::threads_y,
                                              kiln_hip::threads_z> blockDim{};
static __device__ constexpr kiln_hip::Numbers<kiln_hip::blocks_x, kiln_hip::blocks_y,
                                              kiln_hip::blocks_z> gridDim{};

__device__ __forceinline__ void __syncthreads() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
)";

}  // namespace kiln
