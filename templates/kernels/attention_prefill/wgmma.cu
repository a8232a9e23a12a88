// SPDX-License-Identifier: Apache-2.0
// attention_prefill by the products of warpgroups (wgmma, sm_90a). A block has 128 queries of one
// head and goes over the keys from the last tile to the first. One warpgroup brings tiles of keys
// and values by cp.async into two stages each; two others have 64 queries each: scores = Q K^T from
// shared memory, online softmax in registers, out += weights V with the weights from registers.
// While a warpgroup computes the weights of a tile, the product of the last tile's weights is under
// way, and the other warpgroup's products are: they take turns by named barriers (FlashAttention-3,
// arXiv 2407.08608, sections 3.1 and 3.2).
//
// The weights are rounded to the io type before they meet the values; sums are fp32.
#include "attention_prefill/wgmma_consumer.h"
#include "attention_prefill/wgmma_producer.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/warpgroup.h"

namespace kiln {

// Grid: x counts tiles of queries by number, y the query heads. Block: three warpgroups.
KILN_KERNEL(384, 1) attention_prefill_wgmma(KILN_PARAMS(AttentionPrefillParams) p) {
  using namespace attention_prefill_detail;
  KILN_SHARED_DYNAMIC(u8, bytes, 0, kAttentionPrefillWgmmaSharedBytes);
  const Memory memory{(dialect::shared_address(bytes.raw(0)) + 1023u) & ~1023u};
  dependency_wait();
  launch_dependents();

  // The last tiles of a causal sequence see the most keys: they begin first.
  const i64 number = i64{grid_dim().x} - 1 - block_idx().x;
  const Tile tile = find_tile<DeviceMemory>(p, kRows, number);
  Work work;
  work.job = find_job<DeviceMemory>(p, tile.n);
  if (tile.first >= work.job.queries) return;
  work.first_row = tile.first;
  work.head = static_cast<int>(block_idx().y);
  work.keys = work.job.visible(p, tile.first, min(tile.first + kRows, work.job.queries) - 1);
  work.tiles =
      work.keys.first < work.keys.end ? ceil_div(work.keys.end - work.keys.first, kKeys) : 0;
  if (thread_rank() == 0) memory.init_barriers();
  block_barrier();
  if (warp() < 4) {
    give_registers_back<40>();
    if (work.tiles > 0) produce(p, work, memory);
  } else {
    take_registers<232>();
    consume(p, work, memory);
  }
}

}  // namespace kiln
