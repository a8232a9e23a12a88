// SPDX-License-Identifier: Apache-2.0
// Where tests run kda_decode: the native CPU, and each GPU implementation on the SIMT machine with
// warps of 32 and of 64.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/runtime/kda_problem.h"

namespace kiln::test {

// A Runtime with a cache of its own that serves by one implementation alone; one per process.
inline Runtime& runtime_of(const std::string& implementation) {
  static TempFolder folder;
  static std::map<std::string, std::unique_ptr<Runtime>> runtimes;
  auto& runtime = runtimes[implementation];
  if (!runtime) {
    Options options = *Options::from_environment();
    options.cache_folder = folder.path() / "cache";
    if (!implementation.empty()) options.only_implementation = implementation;
    runtime = *Runtime::create(std::move(options));
  }
  return *runtime;
}

struct KdaPlace {
  std::string arch;
  std::string implementation;  // empty: whichever is the best

  std::string name() const { return implementation + "_" + arch; }
  Runtime& runtime() const {
    return runtime_of(implementation.empty() ? "" : "kda_decode/" + implementation);
  }
  CallOptions options() const {
    CallOptions options;
    options.arch = *Arch::parse(arch);
    return options;
  }
  // Why nothing can be compiled for it here.
  std::optional<std::string> why_not() const {
    for (Compiler* compiler : runtime().compilers().chain(*Arch::parse(arch))) {
      const auto found = compiler->toolchain();
      if (!found) return found.error().message;
    }
    return {};
  }
};

inline void PrintTo(const KdaPlace& place, std::ostream* out) {
  *out << place.name();
}

inline std::vector<KdaPlace> kda_gpu_places() {
  std::vector<KdaPlace> places;
  for (const char* arch : {"simt", "simt:warp64"}) {
    for (const char* implementation : {"small_batch", "large_batch", "several_tokens"}) {
      places.push_back({arch, implementation});
    }
  }
  return places;
}

inline std::vector<KdaPlace> kda_places() {
  std::vector<KdaPlace> places = kda_gpu_places();
  places.insert(places.begin(), {"cpu", "cpu"});
  return places;
}

// The CPU, and two of the others, so that each comes in turn.
inline std::vector<KdaPlace> kda_places_in_turn(int turn) {
  const std::vector<KdaPlace> gpu = kda_gpu_places();
  const auto at = static_cast<std::size_t>(turn);
  return {{"cpu", "cpu"}, gpu[at % 3], gpu[3 + (at + 1) % 3]};
}

inline std::string name_of_kda_place(const testing::TestParamInfo<KdaPlace>& info) {
  std::string name = info.param.name();
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

}  // namespace kiln::test
