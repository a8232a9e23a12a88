// SPDX-License-Identifier: Apache-2.0
// What sm_90a has for four warps together (a warpgroup, which begins at a warp that is a multiple
// of 4): matrix products that run while the threads go on (wgmma), and registers that move from one
// warpgroup to another. Names and rules are those of the PTX manual.
//
// A warpgroup's product is 64 rows: each warp has 16 of them, in the layout of mma_m16n8k16
// (kiln/mma.h). So A may come from registers as MmaA, and C is an MmaC for every 8 columns.
#pragma once

#include "kiln/mma.h"

#if KILN_DIALECT_CUDA && KILN_SM == 900

namespace kiln {

// A tile of 16-bit elements in shared memory as wgmma reads it with 128-byte swizzle: panels of 64
// columns one after another, in each of them rows of 128 bytes, whose 16-byte chunk c of row r lies
// at chunk c ^ (r % 8). A tile begins at a multiple of 1,024 bytes.
template <int rows>
struct SwizzledTile {
  static constexpr u32 kPanelBytes = u32{rows} * 128;
  static_assert(rows % 8 == 0, "the pattern repeats after 8 rows");

  u32 address;  // in shared memory, bytes

  // Where chunk `chunk` (8 elements) of a row of a panel lies.
  KILN_DEVICE u32 chunk(int panel, int row, int chunk) const {
    return address + static_cast<u32>(panel) * kPanelBytes + static_cast<u32>(row) * 128 +
           static_cast<u32>(chunk ^ (row & 7)) * 16;
  }
  // As operand: rows of the tile are rows of A or columns of B, from `row` (a multiple of 8) on;
  // 16 columns from 16 * step on are the depth.
  KILN_DEVICE u64 along_rows(int row, int step) const {
    return descriptor(address + static_cast<u32>(step / 4) * kPanelBytes +
                          static_cast<u32>(row) * 128 + static_cast<u32>(step % 4) * 32,
                      16, 1024);
  }
  // As B: columns from panel `panel` on are columns of B; 16 rows from 16 * step on the depth.
  KILN_DEVICE u64 along_columns(int panel, int step) const {
    return descriptor(
        address + static_cast<u32>(panel) * kPanelBytes + static_cast<u32>(step) * (16 * 128),
        kPanelBytes, 1024);
  }

 private:
  // The matrix descriptor of PTX: start, leading and stride offset in units of 16 bytes, and
  // swizzling of 128 bytes. Along rows the leading offset is not read.
  KILN_DEVICE static u64 descriptor(u32 start, u32 leading, u32 stride) {
    const auto field = [](u32 bytes) { return u64{(bytes & 0x3ffff) >> 4}; };
    return field(start) | field(leading) << 16 | field(stride) << 32 | u64{1} << 62;
  }
};

// Before the first product, and after registers that one reads were written.
KILN_DEVICE void warpgroup_arrive() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// Closes the group of products so far.
KILN_DEVICE void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most `pending` of the latest groups are under way. `c` is the result of one that
// has ended: it may be read afterwards, and not before.
template <int pending, int tiles>
KILN_DEVICE void warpgroup_wait(MmaC (&c)[tiles]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#pragma unroll
  for (int i = 0; i < tiles; ++i) {
    asm volatile(""
                 : "+f"(c[i].values[0]), "+f"(c[i].values[1]), "+f"(c[i].values[2]),
                   "+f"(c[i].values[3])::"memory");
  }
}

namespace wgmma_detail {
#define KILN_WGMMA_TILE(tile) \
  "+f"(tile.values[0]), "+f"(tile.values[1]), "+f"(tile.values[2]), "+f"(tile.values[3])

// c = a b, or c + a b with `add`: a and b 64 x 16 and 16 x 8 * tiles. A from registers takes a B
// along columns, A from shared memory one along rows.
template <class T>
KILN_DEVICE void issue(MmaC (&c)[8], u64 a, u64 b, u32 add) {
  if constexpr (is_same<T, bf16>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, p, 1, 1, 0, 0;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7])
        : "l"(a), "l"(b), "r"(add));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, p, 1, 1, 0, 0;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7])
        : "l"(a), "l"(b), "r"(add));
  }
}
template <class T>
KILN_DEVICE void issue(MmaC (&c)[8], const MmaA& a, u64 b, u32 add) {
  if constexpr (is_same<T, bf16>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7])
        : "r"(a.words[0].bits), "r"(a.words[1].bits), "r"(a.words[2].bits), "r"(a.words[3].bits),
          "l"(b), "r"(add));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7])
        : "r"(a.words[0].bits), "r"(a.words[1].bits), "r"(a.words[2].bits), "r"(a.words[3].bits),
          "l"(b), "r"(add));
  }
}
template <class T>
KILN_DEVICE void issue(MmaC (&c)[16], u64 a, u64 b, u32 add) {
  if constexpr (is_same<T, bf16>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, p, 1, 1, 0, 0;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7]), KILN_WGMMA_TILE(c[8]),
          KILN_WGMMA_TILE(c[9]), KILN_WGMMA_TILE(c[10]), KILN_WGMMA_TILE(c[11]),
          KILN_WGMMA_TILE(c[12]), KILN_WGMMA_TILE(c[13]), KILN_WGMMA_TILE(c[14]),
          KILN_WGMMA_TILE(c[15])
        : "l"(a), "l"(b), "r"(add));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, p, 1, 1, 0, 0;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7]), KILN_WGMMA_TILE(c[8]),
          KILN_WGMMA_TILE(c[9]), KILN_WGMMA_TILE(c[10]), KILN_WGMMA_TILE(c[11]),
          KILN_WGMMA_TILE(c[12]), KILN_WGMMA_TILE(c[13]), KILN_WGMMA_TILE(c[14]),
          KILN_WGMMA_TILE(c[15])
        : "l"(a), "l"(b), "r"(add));
  }
}
template <class T>
KILN_DEVICE void issue(MmaC (&c)[16], const MmaA& a, u64 b, u32 add) {
  if constexpr (is_same<T, bf16>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7]), KILN_WGMMA_TILE(c[8]),
          KILN_WGMMA_TILE(c[9]), KILN_WGMMA_TILE(c[10]), KILN_WGMMA_TILE(c[11]),
          KILN_WGMMA_TILE(c[12]), KILN_WGMMA_TILE(c[13]), KILN_WGMMA_TILE(c[14]),
          KILN_WGMMA_TILE(c[15])
        : "r"(a.words[0].bits), "r"(a.words[1].bits), "r"(a.words[2].bits), "r"(a.words[3].bits),
          "l"(b), "r"(add));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
        : KILN_WGMMA_TILE(c[0]), KILN_WGMMA_TILE(c[1]), KILN_WGMMA_TILE(c[2]),
          KILN_WGMMA_TILE(c[3]), KILN_WGMMA_TILE(c[4]), KILN_WGMMA_TILE(c[5]),
          KILN_WGMMA_TILE(c[6]), KILN_WGMMA_TILE(c[7]), KILN_WGMMA_TILE(c[8]),
          KILN_WGMMA_TILE(c[9]), KILN_WGMMA_TILE(c[10]), KILN_WGMMA_TILE(c[11]),
          KILN_WGMMA_TILE(c[12]), KILN_WGMMA_TILE(c[13]), KILN_WGMMA_TILE(c[14]),
          KILN_WGMMA_TILE(c[15])
        : "r"(a.words[0].bits), "r"(a.words[1].bits), "r"(a.words[2].bits), "r"(a.words[3].bits),
          "l"(b), "r"(add));
  }
}

#undef KILN_WGMMA_TILE
}  // namespace wgmma_detail

// C = A B or, with `add`, C + A B: one step of depth 16. A and B are descriptors along rows, or A
// comes from registers and B is a descriptor along columns.
template <class T, int tiles, class A>
KILN_DEVICE void warpgroup_mma(MmaC (&c)[tiles], const A& a, u64 b, bool add) {
  static_assert(is_same<T, bf16> || is_same<T, f16>, "warpgroup_mma multiplies bf16 or f16");
  wgmma_detail::issue<T>(c, a, b, add ? 1u : 0u);
}

// Registers of each thread of this warpgroup from here on; the kernel declares how many threads
// it has, and one block to a multiprocessor.
template <int registers>
KILN_DEVICE void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
KILN_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

}  // namespace kiln

#endif
