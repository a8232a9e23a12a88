// SPDX-License-Identifier: Apache-2.0
// How an implementation shares out the work of a call, and what of it lies in the workspace. The
// launch plan and the kernels both ask here.
#pragma once

#if KILN_DIALECT_CUDA
#define KILN_ROUTER_SHARED __device__  // NVRTC refuses functions without it, constexpr or not
#else
#define KILN_ROUTER_SHARED
#endif

namespace kiln {

struct RouterGemmTile {
  int experts;
  int tokens;
};

// dot_tiles, in the order of its name expressions. The first two split K over a block; the last
// gives each warp a tile of its own.
constexpr RouterGemmTile kRouterGemmOneToken = {1, 1};
constexpr RouterGemmTile kRouterGemmFewTokens = {1, 4};
constexpr RouterGemmTile kRouterGemmManyTokens = {4, 8};
// Whatever the warp size is, so that the launch plan need not know it.
constexpr int kRouterGemmManyTilesPerBlock = 4;

// The native CPU. Up to 4 tokens: four rows of W pass by all of them, once. More: the tokens of an
// item are widened into the worker's scratch memory, a part of K at a time, and pay for that with
// the rows of W that they meet there.
constexpr RouterGemmTile kRouterGemmCpuFew = {4, 4};
constexpr RouterGemmTile kRouterGemmCpuItem = {32, 64};
constexpr int kRouterGemmCpuDepth = 1024;

// Tokens of a block of the kernel that only chooses.
constexpr int kRouterGateTokensPerBlock = 4;
// Where scores stay in the registers of a warp.
constexpr int kRouterGateExpertsMax = 1024;
constexpr int kRouterGateGroupsMax = 32;
constexpr int kRouterGateTopkMax = 32;

// Workspace: counters first, then the partial sums of the splits of K, [splits, M, N].
constexpr long long kRouterGemmCounters = 1024;

// few_tokens: a block per expert.
constexpr int kRouterGemmFewTokensMax = 8;

// A call of so few tokens chooses in the launch that makes the logits, if it can count its blocks.
KILN_ROUTER_SHARED constexpr bool router_gemm_fuses_gate(long long tokens,
                                                         long long workspace_floats) {
  return tokens <= 16 && workspace_floats >= kRouterGemmCounters;
}

// matrix_tiles: experts and tokens of a block by its entry points, in their order. The first two
// share K out over the warps of a block and, given a workspace, over blocks.
constexpr RouterGemmTile kRouterGemmMatrixFew = {16, 16};
constexpr RouterGemmTile kRouterGemmMatrixSome = {16, 64};
constexpr RouterGemmTile kRouterGemmMatrixMany = {64, 64};
// From so many tokens on there are blocks enough without sharing out K.
constexpr long long kRouterGemmMatrixManyFrom = 257;

KILN_ROUTER_SHARED constexpr RouterGemmTile router_gemm_split_tile(long long tokens) {
  return tokens <= kRouterGemmMatrixFew.tokens ? kRouterGemmMatrixFew : kRouterGemmMatrixSome;
}

KILN_ROUTER_SHARED constexpr long long router_gemm_tiles(long long size, long long tile) {
  return (size + tile - 1) / tile;
}

// Blocks that share out K where a workspace holds their sums: as many as fill a large chip, each
// with 512 elements of it or more.
KILN_ROUTER_SHARED constexpr int router_gemm_splits(long long experts, long long hidden,
                                                    long long tokens, long long workspace_floats) {
  constexpr long long kBlocks = 128, kSplitsMax = 8, kHiddenMin = 512;
  const RouterGemmTile tile = router_gemm_split_tile(tokens);
  const long long tiles =
      router_gemm_tiles(experts, tile.experts) * router_gemm_tiles(tokens, tile.tokens);
  if (tiles > kRouterGemmCounters / 2) return 1;
  long long splits = kBlocks / tiles;
  if (splits > kSplitsMax) splits = kSplitsMax;
  if (splits > hidden / kHiddenMin) splits = hidden / kHiddenMin;
  const long long room = (workspace_floats - kRouterGemmCounters) / (tokens * experts);
  if (splits > room) splits = room;
  return splits < 1 ? 1 : static_cast<int>(splits);
}

// The floats of the workspace that serves these sizes best.
KILN_ROUTER_SHARED constexpr long long router_gemm_workspace(long long experts, long long hidden,
                                                             long long tokens) {
  if (tokens < 1 || tokens >= kRouterGemmMatrixManyFrom) return kRouterGemmCounters;
  const int splits = router_gemm_splits(experts, hidden, tokens, 1LL << 62);
  return kRouterGemmCounters + (splits > 1 ? splits * tokens * experts : 0);
}

}  // namespace kiln
