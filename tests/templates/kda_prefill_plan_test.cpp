// SPDX-License-Identifier: Apache-2.0
// kda_prefill's host side: what is served, and with which launches.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "templates/kernels/kda_prefill/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& op() {
  return **find_op("kda_prefill");
}
const Implementation& named(std::string_view name) {
  return *std::ranges::find(op().implementations, fmt::format("kda_prefill/{}", name),
                            &Implementation::name);
}
const Implementation& gpu() {
  return named("lane_rows");
}
const Implementation& cpu() {
  return named("cpu");
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(op(), given)->shape;
}

alignas(16) float memory[8];

KdaPrefillParams params_with(int batch, std::int64_t tokens) {
  KdaPrefillParams params{};
  for (KdaHeads* heads : {&params.q, &params.k, &params.v, &params.a, &params.b, &params.out}) {
    heads->data = memory;
  }
  params.slots = memory;
  params.a_log = memory;
  params.state.data = memory;
  params.cu_seqlens = reinterpret_cast<const int*>(memory);
  params.state.slots = batch;
  params.slot_bytes = 4;
  params.batch = batch;
  params.total = tokens;
  return params;
}

TEST(KdaPrefillPlan, StatesTimesSlicesWhateverTheTokens) {
  for (const std::int64_t tokens : {0, 1, 100000}) {
    KdaPrefillParams params = params_with(3, tokens);
    params.cu_seqlens = nullptr;  // a plan that reads it crashes
    EXPECT_EQ(gpu().plan(shape_with(), &params)[0].dims.grid, (Dim3{3 * 32, 4, 1}));
    EXPECT_EQ(cpu().plan(shape_with(), &params)[0].dims.grid.count(), 3U * 32 * 4);
  }
  const KdaPrefillParams none = params_with(0, 0);
  EXPECT_TRUE(gpu().plan(shape_with(), &none).empty());
  EXPECT_TRUE(cpu().plan(shape_with(), &none).empty());
}

TEST(KdaPrefillServe, NullTensorsAreNamedUnlessEmpty) {
  KdaPrefillParams params = params_with(2, 3);
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  params.q.data = nullptr;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(), "q is null");
  params.total = 0;
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  params.checkpoints.data = memory;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(), "checkpoint_slots is null");
}

TEST(KdaPrefillServe, MoreStatesThanALaunchHasAreRefused) {
  const KdaPrefillParams params = params_with(1 << 30, 0);
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(),
            "1073741824 sequences of 32 heads are more than 16777216 states in one call");
}

TEST(KdaPrefillBuild, ChunksNeedMatrixInstructionsAndSmallKeys) {
  const auto why_not = [](const char* arch, std::vector<NameValue> given) {
    return can_build(named("chunked"), shape_with(std::move(given)), *Arch::parse(arch)).reason();
  };
  EXPECT_EQ(why_not("sm_80", {}), "");
  EXPECT_EQ(why_not("gfx942", {}), "");
  EXPECT_EQ(why_not("gfx1100", {}),
            "gfx1100 has no bf16 MFMA of 16 x 16 x 16; it builds gfx90a, gfx942, gfx950");
  EXPECT_EQ(why_not("sm_90a", {{"K", "256"}}),
            "K=256: it builds 64 and 128, whose chunks fit into shared memory");
}

// With a workspace for the chunks of all sequences, of which only the kernel knows where they
// begin.
TEST(KdaPrefillServe, ChunksSideBySideNeedAWorkspace) {
  const Implementation& parallel = named("chunk_parallel");
  KdaPrefillParams params = params_with(3, 3 * 64 + 5);
  const auto why_not = [&] { return parallel.can_serve(shape_with(), &params).reason(); };
  EXPECT_EQ(why_not(), "the call has no workspace");
  params.workspace = memory;
  constexpr std::int64_t kChunks = (3 * 64 + 5) / 16 + 3, kWords = 26 * 256 + 128;
  params.workspace_floats = kChunks * 32 * kWords - 1;
  EXPECT_EQ(why_not(), fmt::format("the workspace has {} floats, and {} are needed",
                                   params.workspace_floats, params.workspace_floats + 1));
  params.workspace_floats += 1;
  EXPECT_EQ(why_not(), "");
  EXPECT_TRUE(parallel.is_best(shape_with(), &params));
  params.workspace = memory + 1;
  EXPECT_EQ(why_not(), "the workspace is not 16-byte aligned");
  params.workspace = memory;
  const LaunchPlan plan = parallel.plan(shape_with(), &params);
  ASSERT_EQ(plan.size(), 2U);
  EXPECT_EQ(plan[0].dims.grid, (Dim3{kChunks * 32, 1, 1}));
  EXPECT_EQ(plan[1].dims.grid, (Dim3{3 * 32, 4, 1}));
  params.total = 3 * 63;
  EXPECT_FALSE(parallel.is_best(shape_with(), &params));
  params.total = 0;  // states are still written
  EXPECT_EQ(parallel.plan(shape_with(), &params).size(), 2U);
  params.cu_seqlens = nullptr;
  EXPECT_EQ(parallel.plan(shape_with(), &params).size(), 1U);
  params.tokens = INT64_MAX;
  EXPECT_EQ(why_not(), "6442450944 chunks of 32 heads are too many for a launch");
}

// The chunked implementations take what gives them a few chunks, and checkpoints between chunks.
TEST(KdaPrefillServe, ChunksFromAFewTokensOn) {
  for (const char* name : {"chunked_cpu", "chunked"}) {
    KdaPrefillParams params = params_with(4, 4 * 32);
    EXPECT_TRUE(named(name).can_serve(shape_with(), &params));
    EXPECT_TRUE(named(name).is_best(shape_with(), &params));
    params.total -= 1;
    EXPECT_EQ(named(name).is_best(shape_with(), &params).reason(),
              "31 tokens per sequence; worth it from 32 on");
    params.checkpoints.data = memory;
    params.checkpoint_slots = memory;
    params.checkpoint_every = 64;
    EXPECT_TRUE(named(name).can_serve(shape_with(), &params));
    params.checkpoint_every = 8;
    EXPECT_EQ(named(name).can_serve(shape_with(), &params).reason(),
              "checkpoints every 8 tokens; it has them at multiples of 16");
  }
}

}  // namespace
}  // namespace kiln
