// SPDX-License-Identifier: Apache-2.0
// How the native CPU cuts attention_prefill into work items. The launch plan and the kernel both
// ask here.
#pragma once

namespace kiln {

// A work item has up to this many rows, a row being one query of one head. What it converts of keys
// and values serves them all.
constexpr int kAttentionPrefillCpuRows = 128;

// Query heads of one key/value head that share an item, for `group` heads that there are: all if
// they fit, so that few queries of many heads still make a tile.
constexpr int attention_prefill_cpu_heads(int group) {
  int heads = group < kAttentionPrefillCpuRows ? group : kAttentionPrefillCpuRows;
  while (group % heads != 0) --heads;
  return heads;
}
constexpr int attention_prefill_cpu_queries(int group) {
  return kAttentionPrefillCpuRows / attention_prefill_cpu_heads(group);
}

}  // namespace kiln
