// SPDX-License-Identifier: Apache-2.0
// The GPU kernels of kda_decode keep their states in registers: no spill and no stack on any target
// at any head size, layout and state type, as the compilers' own metadata say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "templates/kernels/kda_decode/params.h"
#include "templates/registry.h"
#include "tests/jit/compilers_for_test.h"

namespace kiln::test {
namespace {

constexpr const char* kArchs[] = {"sm_80", "sm_90a", "sm_100a", "sm_120", "gfx90a", "gfx942"};

class KdaDecodeCompile : public CompilerTest, public testing::WithParamInterface<const char*> {
 protected:
  KdaDecodeCompile() : CompilerTest(GetParam()) {}

  void SetUp() override {
    std::string reasons;  // an old hipRTC knows no gfx942, which LLVM does
    for (Compiler* compiler : compilers_.chain(arch(GetParam()))) {
      const auto described = compiler->describe();
      const Answer answer = described ? compiler->can_compile(arch(GetParam()))
                                      : Answer::no(described.error().message);
      if (answer) {
        chosen_ = compiler;
        return;
      }
      reasons += answer.reason() + "; ";
    }
    GTEST_SKIP() << reasons;
  }

  Compiler* chosen_ = nullptr;

  void expect_registers_only(const std::vector<NameValue>& given) {
    const Op& op = **find_op("kda_decode");
    const Shape shape = parse_arguments(op, given)->shape;
    for (const Implementation& one : op.implementations) {
      if (!can_build(one, shape, arch(GetParam()))) continue;
      const auto artifact = chosen_->compile(*make_input(op, one, shape, arch(GetParam())));
      ASSERT_TRUE(artifact) << words_of(artifact);
      const KernelResources& used = artifact->entries[0].resources;
      const std::string what = one.name + " " + shape.text();
      EXPECT_EQ(used.spill_store_bytes.value_or(0), 0) << what;
      EXPECT_EQ(used.spill_load_bytes.value_or(0), 0) << what;
      EXPECT_EQ(used.stack_bytes.value_or(0), 0) << what;
      EXPECT_GT(used.registers.value_or(1), 0) << what;
      EXPECT_LE(used.shared_bytes_static.value_or(0), 48 << 10) << what;
    }
  }
};

// Head sizes by layout and state type, and what the other words of a shape change: more loads,
// another gate.
std::vector<std::vector<NameValue>> all_shapes() {
  std::vector<std::vector<NameValue>> shapes = {
      {{"V", "256"}, {"io", "f32"}, {"gate_io", "f32"}, {"gate", "lower_bound"}},
      {{"V", "64"}, {"HV", "512"}, {"gate", "scalar"}, {"beta", "doubled"}}};
  for (const char* k : {"256", "128", "64"}) {
    for (const char* layout : {"VK", "KV"}) {
      for (const char* state : {"f32", "bf16"}) {
        shapes.push_back({{"K", k}, {"layout", layout}, {"state", state}});
      }
    }
  }
  return shapes;
}

// Compilers take seconds for all of them, which tools/soak.sh asks for; each arch has some, another
// choice for each, and together they have every one.
TEST_P(KdaDecodeCompile, NothingSpills) {
  const std::vector<std::vector<NameValue>> shapes = all_shapes();
  const std::size_t archs = std::size(kArchs);
  const auto own = static_cast<std::size_t>(
      std::find(std::begin(kArchs), std::end(kArchs), std::string(GetParam())) - kArchs);
  const bool all = std::getenv("KILN_SOAK_KDA_SHAPES") != nullptr;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (all || i % archs == own) expect_registers_only(shapes[i]);
  }
}

// What PTX reads from global memory before it waits for the kernel before it: the offsets, in the
// kernel's parameters, of all that goes into the addresses.
std::set<long> addresses_before_wait(const std::string& ptx) {
  std::set<long> found;
  std::map<std::string, std::set<long>> from;  // register: parameters that went into it
  static const std::regex kRegister("%[a-z]+[0-9]+"), kOffset("\\+([0-9]+)\\]");
  std::istringstream lines(ptx.substr(ptx.find(".entry")));
  for (std::string line; std::getline(lines, line);) {
    if (line.find("griddepcontrol.wait") != std::string::npos) return found;
    const bool is_param = line.find("ld.param") != std::string::npos;
    const auto read_end = line.begin() + static_cast<long>(is_param ? line.find('[') : line.size());
    std::vector<std::string> registers;
    for (std::sregex_iterator i(line.begin(), read_end, kRegister), end; i != end; ++i) {
      registers.push_back(i->str());
    }
    if (is_param) {
      std::smatch offset;
      const long at = std::regex_search(line, offset, kOffset) ? std::stol(offset[1]) : 0;
      for (std::size_t i = 0; i < registers.size(); ++i) {  // more than one: words side by side
        from[registers[i]] = {at + 8 * static_cast<long>(i)};
      }
      continue;
    }
    if (registers.empty()) continue;
    std::set<long> all;
    for (std::size_t i = 1; i < registers.size(); ++i) {
      all.insert(from[registers[i]].begin(), from[registers[i]].end());
    }
    const bool is_load = line.find("ld.global") != std::string::npos;
    if (is_load) found.insert(all.begin(), all.end());
    from[registers[0]] = is_load ? std::set<long>{} : all;
  }
  ADD_FAILURE() << "it does not wait";
  return {};
}

// Programmatic dependent launch: the kernel before may still write q, k, v, the gates, the states
// and the slots. Only the weights A_log and dt_bias, which no kernel writes, are read earlier.
TEST(KdaDecodeDependentLaunch, OnlyWeightsAreReadBeforeTheWait) {
  const Arch newer = *Arch::parse("sm_130");  // as PTX
  Compilers compilers(settings_from_environment());
  Compiler* const nvrtc = compilers.chain(newer).front();
  if (const auto described = nvrtc->describe(); !described) {
    GTEST_SKIP() << described.error().message;
  }
  if (const Answer answer = nvrtc->can_compile(newer); !answer) GTEST_SKIP() << answer.reason();
  static const KdaDecodeParams params{};
  const auto offset_of = [](const auto& field) {
    return static_cast<long>(reinterpret_cast<const char*>(&field) -
                             reinterpret_cast<const char*>(&params));
  };
  const std::set<long> weights = {offset_of(params.a_log), offset_of(params.dt_bias)};
  bool reads_weights = false;
  const Op& op = **find_op("kda_decode");
  for (const char* gate : {"softplus", "scalar"}) {
    const Shape shape =
        parse_arguments(op, std::vector<NameValue>{{"gate", gate}, {"H", "2"}, {"HV", "2"}})->shape;
    for (const Implementation& one : op.implementations) {
      if (!can_build(one, shape, newer)) continue;
      SCOPED_TRACE(one.name + " gate=" + gate);
      const auto artifact = nvrtc->compile(*make_input(op, one, shape, newer));
      ASSERT_TRUE(artifact) << words_of(artifact);
      ASSERT_EQ(artifact->format, CodeFormat::ptx);
      const std::string_view ptx(reinterpret_cast<const char*>(artifact->code.data()),
                                 artifact->code.size());
      const std::set<long> read = addresses_before_wait(std::string(ptx));
      EXPECT_TRUE(std::includes(weights.begin(), weights.end(), read.begin(), read.end()))
          << testing::PrintToString(read);
      reads_weights |= read == weights;
    }
  }
  EXPECT_TRUE(reads_weights);  // or nothing was traced
}

INSTANTIATE_TEST_SUITE_P(Archs, KdaDecodeCompile, testing::ValuesIn(kArchs),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace kiln::test
