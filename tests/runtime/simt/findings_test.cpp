// SPDX-License-Identifier: Apache-2.0
// Kernels with one mistake each: it is found, at its line; and the same kernel without it is clean.
#include <algorithm>

#include "tests/runtime/simt/machine.h"

namespace kiln {
namespace {

using test::dims;
using test::kernel_text;

class SimtFindings : public test::MachineTest {
 protected:
  static std::vector<int> rotated(int count) {
    std::vector<int> expected(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) expected[static_cast<std::size_t>(i)] = (i + 1) % count;
    return expected;
  }
};

std::string with_barrier(const std::string& barrier) {
  return kernel_text(R"(
  KILN_SHARED(int, tile, 64);
  tile[t] = t;  // THERE
  )" + barrier + R"(
  out.store(t, tile[(t + 1) % 64]);  // HERE
)");
}

TEST_F(SimtFindings, AMissingBarrier) {
  expect_finding(with_barrier(""), dims(1, 64), "race", {"HERE", "THERE"});
  expect_result(with_barrier("block_barrier();"), dims(1, 64), rotated(64));
}

TEST_F(SimtFindings, AMissingBarrierInEachOrderOfThreads) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    machine().driver().set_seed(seed);
    std::vector<int> out(64, 0);
    const auto done = machine().run(with_barrier(""), dims(1, 64), out);
    ASSERT_FALSE(done) << seed;
    // By seed either of the two accesses comes first; a cell may also be read before its write.
    const bool race = done.error().log.find("race: ") != std::string::npos;
    const bool unwritten = done.error().log.find("uninitialised read: ") != std::string::npos;
    EXPECT_TRUE(race || unwritten) << done.error().log;
  }
}

TEST_F(SimtFindings, ARaceNamesThreadsValuesAndBlock) {
  const std::string text = kernel_text(R"(
  KILN_SHARED(float, tile, 4);
  if (block_idx().x == 1 && (t == 3 || t == 5)) tile[2] = 0.5f * static_cast<float>(t);
)");
  std::vector<int> out(1);
  const auto done = machine().run(text, dims(2, 32), out);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message,
            "kernel 'kiln::k': race: thread 5 of block (1,0,0) writes tile[2] at k.cu:10 (value "
            "2.5), and thread 3 writes it at k.cu:10 with no barrier between; it holds 1.5");
}

// A warp barrier orders the lanes of a warp and no others.
TEST_F(SimtFindings, AWarpBarrierWhereABlockBarrierIsNeeded) {
  expect_finding(with_barrier("warp_barrier();"), dims(1, 64), "race", {"HERE", "THERE"});
  const std::string text = kernel_text(R"(
  KILN_SHARED(int, tile, 64);
  tile[t] = t;
  warp_barrier();
  out.store(t, tile[t / 32 * 32 + (t + 1) % 32]);
)");
  std::vector<int> expected(64);
  for (int i = 0; i < 64; ++i) expected[static_cast<std::size_t>(i)] = i / 32 * 32 + (i + 1) % 32;
  expect_result(text, dims(1, 64), expected);
}

// Lanes outside the mask are not ordered.
TEST_F(SimtFindings, AWarpBarrierOfTooFewLanes) {
  expect_finding(kernel_text(R"(
  KILN_SHARED(int, tile, 32);
  tile[t] = t;  // THERE
  warp_barrier(t < 16 ? 0xffffu : 0xffff0000u);
  out.store(t, tile[31 - t]);  // HERE
)"),
                 dims(1, 32), "race", {"HERE", "THERE"});
}

TEST_F(SimtFindings, AWriteOverWhatOthersStillRead) {
  const auto text = [](const std::string& barrier) {
    return kernel_text(R"(
  KILN_SHARED(int, tile, 64);
  tile[t] = t;
  block_barrier();
  const int other = tile[(t + 40) % 64];  // THERE
  )" + barrier + R"(
  tile[t] = other;  // HERE
  out.store(t, other);
)");
  };
  expect_finding(text(""), dims(1, 64), "race", {"HERE", "THERE"});
  std::vector<int> expected(64);
  for (int i = 0; i < 64; ++i) expected[static_cast<std::size_t>(i)] = (i + 40) % 64;
  expect_result(text("block_barrier();"), dims(1, 64), expected);
}

// All lanes of two warps read one cell; the write is ordered after one of the warps only.
TEST_F(SimtFindings, AWriteOverWhatAnotherWarpStillReads) {
  expect_finding(kernel_text(R"(
  KILN_SHARED(int, cell, 1);
  if (t == 0) cell[0] = 1;
  block_barrier();
  out.store(t, cell[0]);  // THERE
  warp_barrier();
  if (t == 63) cell[0] = 2;  // HERE
)"),
                 dims(1, 64), "race", {"HERE", "THERE"});
}

// Atomics may meet; what is no atomic may not meet any of them, even where the last is one's own.
TEST_F(SimtFindings, APlainReadAmongAtomics) {
  const auto text = [](const std::string& barrier) {
    return kernel_text(R"(
  KILN_SHARED(int, cell, 1);
  if (t == 0) cell[0] = 0;
  block_barrier();
  if (t == 0) atomic_add(cell, 0, 1);  // THERE
  if (t == 1) atomic_add(cell, 0, 1);
  )" + barrier + R"(
  if (t == 1) out.store(0, cell[0]);  // HERE
)");
  };
  expect_finding(text(""), dims(1, 32), "race", {"HERE", "THERE"});
  expect_result(text("warp_barrier();"), dims(1, 32), {2});
}

TEST_F(SimtFindings, AnUninitialisedCell) {
  const std::string text = kernel_text(R"(
  KILN_SHARED(int, tile, 65);
  tile[t] = t;
  block_barrier();
  out.store(t, tile[t + 1]);  // HERE
)");
  expect_finding(text, dims(1, 64), "uninitialised read", {"HERE"});
}

// Neighbouring halves of a word belong to different threads.
TEST_F(SimtFindings, CellsAreAsSmallAsTheirElements) {
  const auto text = [](const char* last) {
    return kernel_text(std::string(R"(
  KILN_SHARED(u16, tile, 64);
  if (t != )") + last + R"() tile[t] = static_cast<u16>(t);
  block_barrier();
  if (t < 8) {
    const Vec<u16, 8> row = tile.load_vector<8>(t * 8);  // HERE
    out.store(t, row[7]);
  }
)");
  };
  expect_finding(text("21"), dims(1, 64), "uninitialised read", {"HERE"});
  expect_result(text("64"), dims(1, 64), {7, 15, 23, 31, 39, 47, 55, 63});
}

TEST_F(SimtFindings, ASharedAccessOutOfBounds) {
  expect_finding(kernel_text(R"(
  KILN_SHARED(int, tile, 63);
  KILN_SHARED(int, after, 64);
  tile[t] = t;  // HERE
  after[t] = t;
)"),
                 dims(1, 64), "shared memory out of bounds", {"HERE"});
  expect_finding(kernel_text(R"(
  KILN_SHARED(int, tile, 64);
  out.store(t, tile[t - 1]);  // HERE
)"),
                 dims(1, 64), "shared memory out of bounds", {"HERE"});
}

TEST_F(SimtFindings, DynamicSharedMemoryThatWasNotLaunched) {
  expect_finding(kernel_text(R"(
  KILN_SHARED_DYNAMIC(int, ring, 128, 33);  // HERE
  ring[t] = t;
)"),
                 dims(1, 32, 256), "shared memory out of bounds", {"HERE"});
}

TEST_F(SimtFindings, AGlobalAccessOutOfBounds) {
  expect_finding(kernel_text("  out.store(t, in.load(t + 1));  // HERE"), dims(1, 64),
                 "global memory out of bounds", {"HERE"});
  expect_finding(kernel_text("  out.store(t + 1, t);  // HERE"), dims(1, 64),
                 "global memory out of bounds", {"HERE"});
  expect_finding(kernel_text("  in.load_vector<4>(t - 4 * (t == 0));  // HERE"), dims(1, 1),
                 "global memory out of bounds", {"HERE"});
}

// The next tensor is no way out of the first.
TEST_F(SimtFindings, AGlobalAccessIntoAnotherTensor) {
  const std::string text = kernel_text(R"(
  const i64 distance = static_cast<const int*>(p.in) - static_cast<const int*>(p.out);
  out.store(distance, 1);  // HERE
)");
  expect_finding(text, dims(1, 1), "global memory out of bounds", {"HERE"});
}

TEST_F(SimtFindings, MemoryThatNobodyHandedIn) {
  const auto loaded = machine().kernel(kernel_text("  out.store(t, t);  // HERE"), "simt:checked");
  ASSERT_TRUE(loaded) << loaded.error().log;
  std::vector<int> own(32);
  const test::MachineParams params{own.data(), own.data(), 32};
  const auto launch = [&] {
    return (*loaded)->launch({{0, dims(1, 32)}}, &params, sizeof params, {});
  };
  const auto refused = launch();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("global memory out of bounds"), std::string::npos);
  {
    const auto lease = machine().driver().lend(own.data(), own.size() * sizeof(int));
    EXPECT_TRUE(launch());
    EXPECT_EQ(own[31], 31);
  }
  EXPECT_FALSE(launch());
}

TEST_F(SimtFindings, AMisalignedVector) {
  expect_finding(kernel_text("  in.load_vector<4>(t + 1);  // HERE"), dims(1, 1),
                 "misaligned access", {"HERE"});
  expect_finding(kernel_text(R"(
  KILN_SHARED(int, tile, 64);
  tile.store_vector<2>(2 * t + 1, {{t, t}});  // HERE
)"),
                 dims(1, 1), "misaligned access", {"HERE"});
}

TEST_F(SimtFindings, ADivergentBarrier) {
  for (const char* arch : {"simt:checked", "simt:warp64:checked"}) {
    expect_finding(kernel_text("  if (t < 40) block_barrier();  // HERE"), dims(1, 128),
                   "divergent barrier", {"HERE"}, 128, arch);
    expect_finding(kernel_text(R"(
  if (t < 64) {
    block_barrier();  // HERE
  } else {
    block_barrier();  // THERE
  }
)"),
                   dims(1, 128), "divergent barrier", {"HERE", "THERE"}, 128, arch);
  }
}

TEST_F(SimtFindings, ANamedBarrierThatSomeDoNotReach) {
  expect_finding(kernel_text("  if (t < 32) named_barrier(1, 64);  // HERE"), dims(1, 64),
                 "divergent barrier", {"HERE"});
  expect_finding(kernel_text(R"(
  if (t < 32) named_barrier(1, 64);  // HERE
  else named_barrier(1, 96);  // THERE
)"),
                 dims(1, 96), "divergent barrier", {"HERE", "THERE"});
}

// As many threads as are wanted, but no whole warp of them.
TEST_F(SimtFindings, ANamedBarrierOfHalfWarps) {
  expect_finding(kernel_text("  if (t % 32 < 16) named_barrier(1, 64);  // HERE"), dims(1, 128),
                 "divergent barrier", {"HERE"}, 128);
  expect_result(kernel_text("  if (t < 64) named_barrier(1, 64);\n  out.store(t, 1);"),
                dims(1, 128), std::vector<int>(128, 1));
}

TEST_F(SimtFindings, AWrongShuffleMask) {
  // Lanes that never come.
  const std::string missing = kernel_text(R"(
  int value = t;
  if (t < 16) value = shuffle_xor(value, 1);  // HERE
  block_barrier();  // THERE
  out.store(t, value);
)");
  for (const char* arch : {"simt", "simt:checked"}) {
    expect_finding(missing, dims(1, 32), "inactive lane", {"HERE", "THERE"}, 64, arch);
  }
  // A lane outside its own mask.
  expect_finding(kernel_text("  out.store(t, shuffle(t, 0, 32, 0xffu));  // HERE"), dims(1, 32),
                 "inactive lane", {"HERE"});
  std::vector<int> out(1);
  const auto done = machine().run(kernel_text("  warp_barrier(0xffu);"), dims(1, 32), out);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("thread 8 of block (0,0,0) calls warp_barrier at k.cu:8 with "
                                      "mask 0xff, which leaves out its lane 8"),
            std::string::npos)
      << done.error().message;
  // A source outside the mask.
  expect_finding(kernel_text(R"(
  if (t < 16) out.store(t, shuffle_xor(t, 16, 32, 0xffffu));  // HERE
)"),
                 dims(1, 32), "inactive lane", {"HERE"});
}

TEST_F(SimtFindings, AShuffleFromALaneThatHasEnded) {
  expect_finding(kernel_text(R"(
  if (t >= 24) return;
  out.store(t, shuffle_xor(t, 8));  // HERE
)"),
                 dims(1, 32), "inactive lane", {"HERE"});
  // Where no value of an ended lane is asked for, it is not missed.
  expect_result(kernel_text(R"(
  if (t >= 24) return;
  out.store(t, shuffle_xor(t, 1, 8));
)"),
                dims(1, 32), {1,  0,  3,  2,  5,  4,  7,  6,  9,  8,  11, 10,
                              13, 12, 15, 14, 17, 16, 19, 18, 21, 20, 23, 22});
}

TEST_F(SimtFindings, AWarpNumberInDivergedCode) {
  expect_finding(kernel_text(R"(
  if (t % 2 == 0) out.store(t, warp());  // HERE
  block_barrier();
)"),
                 dims(1, 32), "inactive lane", {"HERE"});
}

// Rows of 48 threads: a warp has the end of one row and the beginning of the next.
TEST_F(SimtFindings, AWarpNumberThatIsNoneOfTheWarp) {
  LaunchDims rows;
  rows.block = {48, 2, 1};
  expect_finding(kernel_text("  out.store(t, warp());  // HERE"), rows,
                 "value not uniform in the warp", {"HERE"});
  rows.block = {32, 2, 1};
  expect_result(kernel_text("  out.store(t, warp());"), rows, std::vector<int>(32, 0));
}

TEST_F(SimtFindings, MoreSharedMemoryThanABlockMayHave) {
  const std::string text = kernel_text(R"(
  KILN_SHARED(int, first, 8192);
  KILN_SHARED(int, second, 8192);
  KILN_SHARED(int, third, 1);  // HERE
  first[t] = 1;
  second[t] = 1;
  third[0] = 1;
)");
  const std::string what = "too much shared memory";
  expect_finding(text, dims(1, 1), what, {"HERE"}, 64, "simt:warp64:checked");
  expect_finding(text, dims(1, 1, 232448 - 65536), what, {"HERE"});
}

TEST_F(SimtFindings, AMatrixInstructionWithLanesMissing) {
  expect_finding(kernel_text(R"(
  if (t >= 8) return;
  const MmaC d = mma_m16n8k16<bf16>(MmaA{}, MmaB{}, MmaC{});  // HERE
  out.store(t, static_cast<int>(d.values[0]));
)"),
                 dims(1, 32), "inactive lane", {"HERE"});
}

std::string with_async_copy(const std::string& before_reading) {
  return kernel_text(R"(
  KILN_SHARED(int, tile, 32 * 4);
  async_copy<4>(tile, 4 * t, in, 4 * (t % 8));  // THERE
  async_commit();
  )" + before_reading +
                     R"(
  out.store(t, tile[4 * ((t + 1) % 32)]);  // HERE
)");
}

TEST_F(SimtFindings, AnAsyncCopyThatWasNotWaitedFor) {
  const std::string what = "asynchronous copy not waited for";
  expect_finding(with_async_copy("block_barrier();"), dims(1, 32), what, {"HERE", "THERE"});
  expect_finding(with_async_copy("async_wait<1>(); block_barrier();"), dims(1, 32), what,
                 {"HERE", "THERE"});
  // Each thread waits for its own copies: a barrier must follow.
  expect_finding(with_async_copy("block_barrier(); async_wait<0>();"), dims(1, 32), what,
                 {"HERE", "THERE"});
  expect_result(with_async_copy("async_wait<0>(); block_barrier();"), dims(1, 32),
                std::vector<int>(32, 7), std::vector<int>(64, 7));
}

TEST_F(SimtFindings, EachLineOnceWithTheNumberOfTimes) {
  std::vector<int> out(1);
  const std::string text = kernel_text(R"(
  out.store(1 + t, 1);
  out.store(-1 - t, 1);
)");
  const auto done = machine().run(text, dims(3, 32), out);
  ASSERT_FALSE(done);
  EXPECT_EQ(std::count(done.error().log.begin(), done.error().log.end(), '\n'), 2);
  EXPECT_NE(done.error().log.find("[96 times]"), std::string::npos) << done.error().log;
  EXPECT_NE(done.error().message.find("(and 1 more findings)"), std::string::npos);
}

}  // namespace
}  // namespace kiln
