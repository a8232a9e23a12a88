// SPDX-License-Identifier: Apache-2.0
// The targets of libFuzzer over their seeds and mutations of them, the same ones each time, where
// there is no libFuzzer. KILN_FUZZ_RUNS changes how many.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/fuzz/targets.h"

namespace kiln::fuzz {
namespace {

constexpr int kRunsByDefault = 20'000;

int runs() {
  const char* const given = std::getenv("KILN_FUZZ_RUNS");
  return given ? std::atoi(given) : kRunsByDefault;
}

// One to four changes of the kinds that break parsers: bits, lengths, cuts, repeats, foreign parts.
void mutate(std::string& text, const std::vector<std::string>& seeds, std::mt19937_64& random) {
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    if (text.empty()) text = seeds[below(seeds.size())];
    const std::size_t at = below(text.size());
    switch (below(7)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 1:
        text[at] = static_cast<char>(random());
        break;
      case 2:
        text[at] = "0919:\n=.{\xff"[below(10)];
        break;
      case 3:
        text.resize(at);
        break;
      case 4:
        text.insert(at, text.substr(below(text.size()), below(32)));
        break;
      case 5:
        text.erase(at, 1 + below(16));
        break;
      default: {
        const std::string& other = seeds[below(seeds.size())];
        text.insert(at, other.substr(below(other.size()), below(64)));
      }
    }
  }
}

class Fuzz : public testing::TestWithParam<const Target*> {};

TEST_P(Fuzz, MutatedInputsBreakNoRule) {
  const Target& target = *GetParam();
  const std::vector<std::string> seeds = target.seeds();
  for (const std::string& seed : seeds) target.run(as_bytes(seed));
  std::mt19937_64 random(1);
  std::string text;
  for (int i = 0; i < runs(); ++i) {
    // Every so often from the start, else further from what was tried last.
    if (i % 8 == 0) text = seeds[static_cast<std::size_t>(random() % seeds.size())];
    mutate(text, seeds, random);
    target.run(as_bytes(text));
  }
}

std::vector<const Target*> all() {
  std::vector<const Target*> found;
  for (const Target& target : targets()) found.push_back(&target);
  return found;
}

INSTANTIATE_TEST_SUITE_P(All, Fuzz, testing::ValuesIn(all()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace kiln::fuzz
