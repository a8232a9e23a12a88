// SPDX-License-Identifier: Apache-2.0
// Shared by the kernel and the program that launches it.
#pragma once

struct SaxpyParams {
  float a;
  const float* x;
  float* y;
};
