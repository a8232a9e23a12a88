// SPDX-License-Identifier: Apache-2.0
// What this machine can do: the limits that ops are compared with. Host only.
#pragma once

#include <string_view>

namespace kiln {

// GB/s of all cores together over 1 GiB, which no cache holds; the best of a few passes.
// `traffic`: "read-modify-write" counts each byte twice, "read" once. Takes about half a second,
// most of it for the first touch of the memory.
double measure_bandwidth(std::string_view traffic);

// GFLOP/s of all cores together in fused multiply-adds of fp32 on registers, the widest that the
// host has; the best of a few passes.
double measure_arithmetic();

}  // namespace kiln
