// SPDX-License-Identifier: Apache-2.0
// attention_decode on matrix instructions: keys and values go from memory straight into the
// registers that these take them from. Products are transposed, keys (or columns of the values) by
// heads, so that up to 8 heads (16 on AMD) fill an instruction and a score comes out in the lane
// that needs it next:
//
//   scores^T [16 tokens, heads] = K [16 tokens, D_qk] Q^T        sums^T [D_vo, heads] += V^T
//   weights^T
//
// A block works on one split of one sequence. Its warps take tiles of 16 tokens in turn, each with
// a softmax of its own, and put their sums together at the end; until then no warp waits for
// another. A warp's next keys and values are under way while it works on its tile.
//
// An instruction sums over its depth and counts its rows in any order that its operands agree on.
// So each lane takes 16 bytes at a time: of keys, elements of the depth; of values, columns.
#include "attention_decode/gpu_job.h"
#include "attention_decode/matrix_output.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"

namespace kiln {

// Grid: x counts (sequence, key/value head, tile of rows), y the splits. Block: 128 threads.
KILN_KERNEL(128, attention_decode_detail::kBlocks)
attention_decode_matrix(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  KILN_SHARED(float, maxima, kWarps* kHeads);
  KILN_SHARED(float, totals, kWarps* kHeads);
  KILN_SHARED(float, shares, kHeads);
  KILN_SHARED(float, cells, kWarps* kHeads* kPartColumns);
  KILN_SHARED(u32, query_cells, kSharedQueries ? kHeadTiles * kDepthSteps * warp_size * 2 : 4);

  dependency_wait();
  launch_dependents();

  const Job job = find_job(p, kRows);
  if (p.splits > 1 && job.tokens.begin >= job.tokens.end) return;  // the merge does not look here
  const int all_tiles = ceil_div(job.tokens.end - job.tokens.begin, kTile);
  const int tiles = ceil_div(all_tiles - warp(), kWarps);  // of this warp; none or fewer: none
  const Global<const i32> pages = pages_of(p, job);
  Keys keys = {};
  Values values = {};
  Cursor cursor = {};
  if (tiles > 0) {
    cursor = begin_cursor(p, job, pages);
    load_keys(p, cursor, 0, keys);
    load_values(p, cursor, 0, values);
  }
  float inverse[kHeadTiles][kOwnHeads];
  const Queries queries = load_queries(p, job, inverse);
  share_queries(queries, query_cells);
  if (kSharedQueries) block_barrier();
  Softmax softmax = begin_softmax(p, job, inverse);
  Sums sums = {};
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    const int first = job.tokens.begin + (tile * kWarps + warp()) * kTile;
    const bool more = tile + 1 < tiles;
    if (kSharedQueries) warp_barrier();  // keeps the compiler from holding all of them in registers
    const Scores scores = score_tile(queries, query_cells, keys, softmax, first);
    if (more) {
      if ((tile + 1) % kTilesOfStep == 0) next_step(p, job, pages, cursor);
      load_keys(p, cursor, tile + 1, keys);
    }
    const Weights weights = weigh_tile(scores, softmax, sums);
    add_values(values, weights, sums);
    if (more) load_values(p, cursor, tile + 1, values);
  }
  store_rows(p, job, Memory{maxima, totals, shares, cells}, softmax, sums);
}

}  // namespace kiln
