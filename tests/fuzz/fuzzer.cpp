// SPDX-License-Identifier: Apache-2.0
// One target under libFuzzer: KILN_FUZZ_TARGET names it. With KILN_FUZZ_SEEDS set to a folder, its
// seeds are written there first, since libFuzzer reads its corpus from files.
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "tests/fuzz/targets.h"

namespace {

const kiln::fuzz::Target& chosen() {
  const char* const name = std::getenv("KILN_FUZZ_TARGET");
  for (const kiln::fuzz::Target& target : kiln::fuzz::targets()) {
    if (name && std::string_view(name) == target.name) return target;
  }
  fmt::print(stderr, "KILN_FUZZ_TARGET='{}': accepted: bundle, record, request\n",
             name ? name : "");
  std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const folder = std::getenv("KILN_FUZZ_SEEDS");
  if (!folder) return 0;
  int number = 0;
  for (const std::string& seed : chosen().seeds()) {
    std::ofstream(fmt::format("{}/seed-{}", folder, number++), std::ios::binary) << seed;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const kiln::fuzz::Target& target = chosen();
  target.run(std::as_bytes(std::span(data, size)));
  return 0;
}
