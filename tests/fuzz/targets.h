// SPDX-License-Identifier: Apache-2.0
// What reads bytes that others wrote, one entry point each, for libFuzzer and for the mutator of
// fuzz_test.cpp. Each ends the program when a rule is broken: what is accepted must come back.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "jit/base/bytes.h"

namespace kiln::fuzz {

struct Target {
  const char* name;
  void (*run)(ByteView input);
  std::vector<std::string> (*seeds)();  // valid inputs to begin with
};

// bundle, record, request.
std::span<const Target> targets();

}  // namespace kiln::fuzz
