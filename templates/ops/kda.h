// SPDX-License-Identifier: Apache-2.0
// What the ops kda_decode and kda_prefill have in common: parameters, and what is built and served.
#pragma once

#include <vector>

#include "templates/kernels/kda/params.h"
#include "templates/registry.h"

namespace kiln {

// Defaults: Kimi-Linear-48B-A3B on one device.
std::vector<ParamSpec> kda_shape_params();

// A shape, decoded.
struct KdaShape {
  explicit KdaShape(const Shape& shape);

  std::int64_t heads, value_heads;
  int k, v;
  bool vk;  // layout
  int state_bytes, io_bytes, gate_io_bytes;
  bool has_rate;     // the gate has A_log
  bool scalar_gate;  // one for a head, not for each of K
};

// Head sizes, groups of heads, and the chip: what all implementations of both ops share.
Answer can_build_kda(const Shape& shape, const Arch& arch);

// Whether sizes and pointers make a call, wherever it runs.
Answer can_serve_kda(const KdaShape& shape, const KdaParams& params);

// Whether each row may be moved by the largest accesses, as kernels with Access::aligned do.
Answer is_aligned_kda(const KdaShape& shape, const KdaParams& params);

// sequences * value heads
std::int64_t kda_states(const KdaShape& shape, const KdaParams& params);

}  // namespace kiln
