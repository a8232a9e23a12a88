// SPDX-License-Identifier: Apache-2.0
// How the plain GPU kernel of attention_prefill cuts its work. The launch plan and the kernel both
// ask here: a block of 128 threads works on so many queries of one head, and so many keys lie in
// shared memory at a time. A thread then holds at most 64 elements of the output, and the tiles of
// queries, keys and values fit in the 48 KiB that every GPU gives without asking.
#pragma once

#ifdef KILN_DEVICE
#define KILN_TILES_DEVICE KILN_DEVICE
#else
#define KILN_TILES_DEVICE
#endif

namespace kiln {

KILN_TILES_DEVICE constexpr int attention_prefill_rows(int d_qk, int d_vo) {
  return d_qk <= 128 && d_vo <= 128 ? 64 : 32;
}
KILN_TILES_DEVICE constexpr int attention_prefill_keys(int d_qk, int d_vo) {
  return d_qk <= 192 && d_vo <= 192 ? 32 : 16;
}

// The same of the tensor cores' kernel: a warp has 16 queries, and keys and values of a tile lie in
// shared memory together.
constexpr int kAttentionPrefillMmaRows = 64;
KILN_TILES_DEVICE constexpr int attention_prefill_mma_keys(int d_qk, int d_vo) {
  return d_qk <= 128 && d_vo <= 128 ? 64 : d_qk + d_vo <= 384 ? 32 : 16;
}

// Of the warpgroups' kernel: the most keys of a tile whose two stages fit beside the queries.
constexpr int kAttentionPrefillWgmmaRows = 128;
constexpr int kAttentionPrefillWgmmaSharedBytes = 227 * 1024;
KILN_TILES_DEVICE constexpr int attention_prefill_wgmma_keys(int d_qk, int d_vo) {
  return 256 * d_qk + 512 * (d_qk + d_vo) <= 224 * 1024 && d_vo <= 192 ? 128 : 64;
}

}  // namespace kiln
