// SPDX-License-Identifier: Apache-2.0
// attention_decode on an NVIDIA GPU against the copy bandwidth that this card has: cold (caches in
// turn, together more than twice the L2 cache, as the layers of a model are) and warm (one cache),
// as a replayed graph. The limit is the cache's bytes at that bandwidth; goals on an H200: 85 % of
// it at batch 32 with 4,096 tokens, 17 us at batch 1, MLA at 2.7 TB/s. FlashInfer and torch SDPA
// stand beside it where Python has them. Exit code 77: there is no GPU here. Words like
// batch=8,length=4096 are cases in place of all of these.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/gpu_bench.h"
#include "runtime/reference/trial.h"

namespace {

using namespace kiln;

using bench::median;
using bench::require;

constexpr int kRounds = 7;

struct Machine {
  Runtime& runtime;
  const bench::CudaTimer& timer;
  Arch arch;
  double copy_gbps;  // bytes read and bytes written
};

// As many calls with caches of their own as are colder than the L2 cache.
std::vector<std::unique_ptr<Trial>> make_trials(const Machine& machine,
                                                const std::vector<NameValue>& given) {
  const Op& op = *require(find_op("attention_decode"));
  const OpArguments arguments = require(parse_arguments(op, given));
  std::vector<std::unique_ptr<Trial>> trials;
  double bytes = 0;
  do {
    trials.push_back(require(make_trial(machine.runtime, op, arguments, machine.arch,
                                        trials.size() + 1, machine.timer.stream())));
    bytes += trials.back()->bytes_moved();
  } while (bytes < 2.0 * static_cast<double>(machine.timer.l2_bytes()));
  return trials;
}

// Microseconds of one call: the median of rounds of replayed graphs, each of which calls all of
// `trials` in turn, at least eight times in all.
double graph_us(const Machine& machine, const std::vector<Trial*>& trials) {
  constexpr int kReplays = 10;
  const std::size_t count = std::max<std::size_t>(trials.size(), 8);
  std::vector<double> times;
  for (int round = -1; round < kRounds; ++round) {
    const double us = machine.timer.graph_time_us(
        [&] {
          for (std::size_t i = 0; i < count; ++i) {
            if (!trials[i % trials.size()]->launch()) std::exit(1);
          }
        },
        kReplays);
    if (round >= 0) times.push_back(us / static_cast<double>(count * kReplays));
  }
  return median(times);
}

void bench_case(const Machine& machine, const std::vector<NameValue>& given, bench::Format format) {
  const auto trials = make_trials(machine, given);
  std::vector<Trial*> all;
  for (const auto& trial : trials) {
    if (!trial->launch()) std::exit(1);  // compiles and loads before anything is captured
    all.push_back(trial.get());
  }
  const double cold = graph_us(machine, all);
  const double warm = graph_us(machine, {all.front()});
  const Trial& one = *all.front();
  const double share = one.bytes_moved() / cold / 1e3 / machine.copy_gbps;
  std::string name;
  for (const auto& [key, value] : given) name += fmt::format("{}={} ", key, value);
  const std::string& implementation = one.selection().implementation->name;
  if (format == bench::Format::json) {
    fmt::print(R"({{"bench": "attention_decode_gpu", "case": "{}", "implementation": "{}", )"
               R"("bytes": {:.0f}, "operations": {:.0f}, "graph_cold_us": {:.2f}, )"
               R"("graph_warm_us": {:.2f}, "share_of_copy_cold": {:.3f}}})"
               "\n",
               name, implementation, one.bytes_moved(), one.operations(), cold, warm, share);
    return;
  }
  fmt::print("{:<72} {:<26} {:>8.1f} {:>9.2f} {:>9.2f} {:>6.2f} {:>8.1f}\n", name, implementation,
             one.bytes_moved() / 1e6, cold, warm, share, one.operations() / cold / 1e6);
}

std::vector<std::vector<NameValue>> all_cases() {
  std::vector<std::vector<NameValue>> cases;
  for (const auto& [batch, length] :
       {std::pair{"1", "4096"}, {"1", "32768"}, {"8", "4096"}, {"32", "4096"}, {"128", "1024"}}) {
    cases.push_back({{"batch", batch}, {"length", length}});
    cases.push_back({{"batch", batch}, {"length", length}, {"Hkv", "4"}});
    cases.push_back({{"batch", batch}, {"length", length}, {"kv", "e4m3"}});
  }
  cases.push_back({{"batch", "16"}, {"length", "4096"}, {"Hkv", "32"}});
  cases.push_back({{"batch", "4"}, {"length", "4096"}, {"Hkv", "32"}});
  for (const char* heads : {"16", "128"}) {
    cases.push_back({{"batch", "64"},
                     {"length", "4096"},
                     {"page_size", "64"},
                     {"Hq", heads},
                     {"Hkv", "1"},
                     {"D_qk", "576"},
                     {"D_vo", "512"},
                     {"v_in_k", "true"}});
  }
  return cases;
}

// Cases given as words: "batch=8,length=4096,splits=4".
std::vector<std::vector<NameValue>> cases_of(int argc, char** argv) {
  std::vector<std::vector<NameValue>> cases;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.find('=') == std::string::npos) continue;
    std::vector<NameValue>& values = cases.emplace_back();
    for (std::size_t from = 0; from < word.size();) {
      const std::size_t end = std::min(word.find(',', from), word.size());
      const std::size_t equals = word.find('=', from);
      values.push_back(
          {word.substr(from, equals - from), word.substr(equals + 1, end - equals - 1)});
      from = end + 1;
    }
  }
  return cases;
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  const bench::GpuMachine gpu = bench::GpuMachine::open(*runtime);
  const Machine machine{*runtime, gpu.timer, gpu.arch, gpu.copy_gbps()};
  if (format == bench::Format::text) {
    fmt::print("{}: copy {:.0f} GB/s, L2 cache {:.0f} MB\n", gpu.timer.device_name(),
               machine.copy_gbps, static_cast<double>(gpu.timer.l2_bytes()) / 1e6);
    fmt::print("{:<72} {:<26} {:>8} {:>9} {:>9} {:>6} {:>8}\n", "us", "", "MB", "cold", "warm",
               "share", "TFLOP/s");
  }
  const auto given = cases_of(argc, argv);
  for (const auto& one : given.empty() ? all_cases() : given) bench_case(machine, one, format);
  if (given.empty()) bench::run_peers(KILN_ATTENTION_PEERS, format);
}
