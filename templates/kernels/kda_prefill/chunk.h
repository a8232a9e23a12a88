// SPDX-License-Identifier: Apache-2.0
// How the chunked implementations of kda_prefill cut their work. Launch plans and kernels both ask
// here.
#pragma once

namespace kiln {

// Tokens of a chunk: rows of one matrix instruction, and few enough that the products among its
// tokens stay small beside those with the state.
constexpr int kKdaPrefillChunk = 16;

// Parts of the values of a state that the native CPU may give to as many cores.
constexpr int kKdaPrefillSlices = 4;

}  // namespace kiln
