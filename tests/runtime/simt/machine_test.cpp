// SPDX-License-Identifier: Apache-2.0
// What the SIMT machine does for kernels that are right.
#include <algorithm>
#include <numeric>

#include "tests/runtime/simt/machine.h"

namespace kiln {
namespace {

using test::dims;
using test::kernel_text;

class SimtMachine : public test::MachineTest {};

std::vector<int> count_to(int count) {
  std::vector<int> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST_F(SimtMachine, CoordinatesOfThreadsAndBlocks) {
  LaunchDims shape;
  shape.grid = {3, 2, 2};
  shape.block = {4, 3, 2};
  const std::string text = kernel_text(R"(
  const Coordinates a = thread_idx(), b = block_idx(), c = block_dim(), d = grid_dim();
  const int thread = static_cast<int>(a.x + c.x * (a.y + c.y * a.z));
  const int block = static_cast<int>(b.x + d.x * (b.y + d.y * b.z));
  const int threads = static_cast<int>(c.x * c.y * c.z);
  out.store(block * threads + thread, block * threads + thread);
)");
  expect_result(text, shape, count_to(12 * 24));
}

// Each thread hands its number through shared memory, over as many barriers.
const std::string kRing = kernel_text(R"(
  const int threads = static_cast<int>(block_dim().x);
  KILN_SHARED_DYNAMIC(int, ring, 0, 1024);
  int value = t;
  for (int round = 0; round < 5; ++round) {
    ring[t] = value;
    block_barrier();
    value = ring[(t + 1) % threads];
    block_barrier();
  }
  out.store(t, value);
)");

TEST_F(SimtMachine, ABlockOf1024Threads) {
  std::vector<int> expected(1024);
  for (int i = 0; i < 1024; ++i) expected[static_cast<std::size_t>(i)] = (i + 5) % 1024;
  for (const char* arch : {"simt", "simt:checked", "simt:warp64:checked"}) {
    expect_result(kRing, dims(1, 1024, 4096), expected, {}, arch);
  }
}

TEST_F(SimtMachine, ResultsAreTheSameInTwentyOrders) {
  std::vector<int> expected(96);
  for (int i = 0; i < 96; ++i) expected[static_cast<std::size_t>(i)] = (i + 5) % 96;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    machine().driver().set_seed(seed);
    expect_result(kRing, dims(1, 96, 4096), expected);
  }
}

// The order is the seed's and nothing else's.
TEST_F(SimtMachine, ASeedIsAnOrder) {
  const std::string text = kernel_text("  out.store(atomic_add(out, 64, 1), t);");
  const auto order = [&](std::uint64_t seed) {
    machine().driver().set_seed(seed);
    std::vector<int> out(65, 0);
    EXPECT_TRUE(machine().run(text, dims(1, 64), out, {}, "simt"));
    out.pop_back();
    return out;
  };
  EXPECT_EQ(order(0), count_to(64));
  EXPECT_EQ(order(7), order(7));
  EXPECT_NE(order(7), order(8));
  EXPECT_NE(order(7), order(0));
}

TEST_F(SimtMachine, ASeedCompilesNothing) {
  std::vector<int> out(1024);
  ASSERT_TRUE(machine().run(kRing, dims(1, 32, 4096), out));
  const Counters before = machine().runtime().counters();
  for (std::uint64_t seed = 1; seed < 4; ++seed) {
    machine().driver().set_seed(seed);
    ASSERT_TRUE(machine().run(kRing, dims(1, 32, 4096), out));
  }
  EXPECT_EQ(machine().runtime().counters().compiles, before.compiles);
}

TEST_F(SimtMachine, AHundredKibibytesOfDynamicSharedMemory) {
  const std::string text = kernel_text(R"(
  KILN_SHARED_DYNAMIC(int, all, 0, 25600);
  for (int i = t; i < 25600; i += 256) all[i] = i;
  block_barrier();
  int sum = 0;
  for (int i = 0; i < 100; ++i) sum += all[(t * 100 + i * 7) % 25600];
  out.store(t, sum);
)");
  std::vector<int> expected;
  for (int t = 0; t < 256; ++t) {
    int sum = 0;
    for (int i = 0; i < 100; ++i) sum += (t * 100 + i * 7) % 25600;
    expected.push_back(sum);
  }
  expect_result(text, dims(1, 256, 102400), expected);
}

TEST_F(SimtMachine, ShufflesAndVotesOfBothWarpSizes) {
  const std::string text = kernel_text(R"(
  const int sum = group_sum(t);
  const int of_eight = group_sum<8>(t);
  const int down = shuffle_down(t, 3, 16);
  const int first = shuffle(t, 5, 16);
  const i64 wide = shuffle_xor(static_cast<i64>(t) << 33, 1);
  const LaneMask odd = ballot(t % 2 == 1);
  const bool answers = any(t == 0) == (t < warp_size) && all(t >= 0) && !all(t % 5 == 0);
  out.store(t * 6, sum);
  out.store(t * 6 + 1, of_eight);
  out.store(t * 6 + 2, down);
  out.store(t * 6 + 3, first);
  out.store(t * 6 + 4, static_cast<int>(wide >> 33));
  out.store(t * 6 + 5, answers ? static_cast<int>(odd >> (warp_size - 32)) : 0);
)");
  for (const int lanes : {32, 64}) {
    std::vector<int> expected;
    for (int t = 0; t < 128; ++t) {
      const int warp = t / lanes * lanes;
      const int eight = t / 8 * 8;
      expected.push_back(warp * lanes + lanes * (lanes - 1) / 2);
      expected.push_back(eight * 8 + 28);
      expected.push_back(t % 16 + 3 < 16 ? t + 3 : t);
      expected.push_back(t / 16 * 16 + 5);
      expected.push_back(t ^ 1);
      expected.push_back(static_cast<int>(0xaaaaaaaaU));
    }
    for (const std::string mode : {"", ":checked"}) {
      const std::string arch = (lanes == 32 ? "simt" : "simt:warp64") + mode;
      expect_result(text, dims(1, 128), expected, {}, arch);
    }
  }
}

// Two halves of a warp at once, each with a mask of its own, any number of times.
TEST_F(SimtMachine, LanesOfAMaskMeetWithoutTheOthers) {
  const std::string text = kernel_text(R"(
  int value = t;
  if (t % 2 == 0) {
    for (int i = 0; i < 3; ++i) value += shuffle_xor(value, 2, 32, 0x55555555u);
  } else {
    value = shuffle_xor(value, 16, 32, 0xaaaaaaaau);
  }
  out.store(t, shuffle_xor(value, 1));
)");
  std::vector<int> value(32);
  for (int t = 0; t < 32; ++t) value[static_cast<std::size_t>(t)] = t % 2 == 0 ? t : t ^ 16;
  for (int i = 0; i < 3; ++i) {
    const std::vector<int> before = value;
    for (std::size_t t = 0; t < 32; t += 2) value[t] += before[t ^ 2];
  }
  std::vector<int> expected(32);
  for (std::size_t t = 0; t < 32; ++t) expected[t] = value[t ^ 1];
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    machine().driver().set_seed(seed);
    expect_result(text, dims(1, 32), expected);
  }
}

// A producer warp and a consumer warp, with one named barrier each way.
TEST_F(SimtMachine, NamedBarriersOrderTheWarpsThatMeet) {
  const std::string text = kernel_text(R"(
  KILN_SHARED(int, box, 32);
  if (warp() == 0) {
    for (int round = 0; round < 4; ++round) {
      box[t] = round * 100 + t;
      named_barrier(1, 64);
      named_barrier(2, 64);
    }
  } else if (warp() == 1) {
    int sum = 0;
    for (int round = 0; round < 4; ++round) {
      named_barrier(1, 64);
      sum += box[63 - t];
      named_barrier(2, 64);
    }
    out.store(t - 32, sum);
  }
)");
  std::vector<int> expected;
  for (int t = 32; t < 64; ++t) expected.push_back(600 + 4 * (63 - t));
  expect_result(text, dims(1, 96), expected);
}

TEST_F(SimtMachine, AtomicsOfManyBlocks) {
  const std::string text = kernel_text(R"(
  const Global<float> sum(static_cast<float*>(p.out) + 4);
  KILN_SHARED(int, own, 1);
  if (t == 0) own[0] = 0;
  block_barrier();
  atomic_add(own, 0, 1);
  block_barrier();
  atomic_add(out, 0, t == 0 ? own.load(0) : 0);
  atomic_max(out, 1, static_cast<int>(block_idx().x) * 64 + t);
  atomic_min(out, 2, -t);
  int seen = out.load(3);
  for (;;) {
    const int before = atomic_compare_exchange(out, 3, seen, seen + 2);
    if (before == seen) break;
    seen = before;
  }
  atomic_add(sum, 0, 0.5f);
)");
  for (const char* arch : {"simt", "simt:checked"}) {
    std::vector<int> out(5, 0);
    const auto done = machine().run(text, dims(200, 64), out, {}, arch);
    ASSERT_TRUE(done) << done.error().log;
    EXPECT_EQ(std::vector<int>(out.begin(), out.end() - 1),
              (std::vector<int>{12800, 12799, -63, 25600}));
    float sum = 0;
    std::memcpy(&sum, &out[4], sizeof sum);
    EXPECT_EQ(sum, 6400.0F);
  }
}

// Copies arrive at the wait and not before: what is read too early is old.
TEST_F(SimtMachine, AsyncCopiesArriveWhenWaitedFor) {
  const std::string text = kernel_text(R"(
  KILN_SHARED(int, tile, 2 * 128);
  tile.store_vector<4>(4 * t, {{-1, -1, -1, -1}});
  async_copy<4>(tile, 4 * t, in, 4 * t);
  async_commit();
  async_copy<4>(tile, 128 + 4 * t, in, 4 * t, t % 2 == 0);
  async_commit();
  const int early = EARLY;
  async_wait<1>();
  const int first = tile[4 * t + 1];
  async_wait<0>();
  const int second = tile[128 + 4 * t + 1];
  out.store(t, early * 1000000 + first * 1000 + second);
)");
  const auto with = [&](const std::string& early) {
    std::string changed = text;
    changed.replace(changed.find("EARLY"), 5, early);
    return changed;
  };
  std::vector<int> expected;
  for (int t = 0; t < 32; ++t)
    expected.push_back((4 * t + 1) * 1000 + (t % 2 == 0 ? 4 * t + 1 : 0));
  expect_result(with("0"), dims(1, 32), expected, count_to(128), "simt:checked");
  expect_result(with("0"), dims(1, 32), expected, count_to(128), "simt");
  for (int& value : expected) value -= 1000000;
  expect_result(with("tile[4 * t]"), dims(1, 32), expected, count_to(128), "simt");
}

TEST_F(SimtMachine, GoesOnAfterAKernelThatCannot) {
  const std::string stuck = kernel_text("  if (t < 7) warp_barrier();\n  block_barrier();");
  for (int i = 0; i < 3; ++i) {
    std::vector<int> out(1024);
    EXPECT_FALSE(machine().run(stuck, dims(4, 64), out, {}, "simt"));
    EXPECT_TRUE(machine().run(kRing, dims(1, 1024, 4096), out, {}, "simt"));
  }
}

TEST_F(SimtMachine, RefusesLaunchesThatNoGpuCouldMake) {
  std::vector<int> out(1);
  const auto refused = [&](const LaunchDims& shape, const std::string& word) {
    const auto done = machine().run(kRing, shape, out);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(word), std::string::npos) << done.error().message;
  };
  refused(dims(1, 1025), "1025 threads per block; at most 1024");
  refused(dims(1, 32, 300000), "300000 bytes of dynamic shared memory; at most 232448");
  refused(dims(0, 32), "without threads");
  LaunchDims clusters = dims(2, 32);
  clusters.cluster.x = 2;
  refused(clusters, "clusters of 2 blocks");
}

TEST_F(SimtMachine, RefusesCodeThatIsNotItsOwn) {
  Artifact artifact;
  artifact.format = CodeFormat::shared_object;
  artifact.code = to_bytes(as_bytes("no object of the machine"));
  const auto loaded = machine().driver().load(0, artifact);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::driver_failed);
  EXPECT_NE(loaded.error().message.find("not compiled for the SIMT machine"), std::string::npos);
}

TEST_F(SimtMachine, RunsWhatIsCompiledForADebugger) {
  std::vector<int> expected(64);
  for (int i = 0; i < 64; ++i) expected[static_cast<std::size_t>(i)] = (i + 5) % 64;
  expect_result(kRing, dims(1, 64, 4096), expected, {}, "simt:checked:debug");
}

}  // namespace
}  // namespace kiln
