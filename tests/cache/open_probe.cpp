// SPDX-License-Identifier: Apache-2.0
// open_probe FOLDER: exit 0 when the store opens, else 1 with the reason.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "cache/store.h"

int main(int count, char** arguments) {
  if (count != 2) return 2;
  kiln::StoreOptions options;
  options.folder = arguments[1];
  const auto store = kiln::Store::open(options);
  if (store) return 0;
  fmt::print("{}\n", store.error().message);
  std::fflush(stdout);
  // Not by exit(): a leak checker cannot trace a process with more rights than its user.
  std::_Exit(1);
}
