// SPDX-License-Identifier: Apache-2.0
// The fall-back chain of every op: each rung is pushed out of the way, in each way that there is,
// and the next one gives the result that the fp64 reference gives, is counted and is told of once.
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "runtime/reference/trial.h"
#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

using Values = std::vector<NameValue>;
using Names = std::vector<std::string>;

// What is logged about fall-backs while it lives.
class Heard {
 public:
  Heard() {
    set_log_sink([this](LogLevel, std::string_view message) {
      const std::lock_guard lock(mutex_);
      if (message.find(" in place of ") != std::string_view::npos) lines_.emplace_back(message);
    });
  }
  ~Heard() { set_log_sink({}); }
  Names lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  Names lines_;
};

// Says that compiling the kernels of these implementations has killed the compiler before.
class KnownCrashes final : public CrashMemory {
 public:
  KnownCrashes(const Op& op, const Shape& shape, const Arch& arch, const Names& names) {
    for (const Implementation& each : op.implementations) {
      if (std::find(names.begin(), names.end(), each.name) == names.end()) continue;
      const auto input = make_input(op, each, shape, arch);
      subjects_.push_back("request " + input->request().digest().hex());
    }
  }
  std::optional<Crash> recall(const Digest& toolchain, std::string_view subject) override {
    if (std::find(subjects_.begin(), subjects_.end(), subject) == subjects_.end()) return {};
    return Crash{"llvm", toolchain, std::string(subject), "signal 11, Segmentation fault", "here"};
  }
  void remember(const Crash&) override {}

 private:
  Names subjects_;
};

struct Chain {
  const char* name;
  const char* op;
  const char* arch;
  Values values;
  Names rungs;         // in the order in which they serve this call
  Names unbuilt = {};  // before them: no code of theirs is for this arch
};
void PrintTo(const Chain& one, std::ostream* out) {
  *out << one.name;
}

class FallBackTest : public testing::TestWithParam<Chain> {
 protected:
  Options options() const {
    Options options = *Options::from_environment();
    options.cache_folder = folder_.path();
    options.log_level = LogLevel::info;
    return options;
  }
  // Calls the op twice on a new Runtime; checks results and who served. Returns the counters.
  static Counters call(const Chain& one, Options options, const std::string& expected) {
    const auto runtime = Runtime::create(std::move(options));
    EXPECT_TRUE(runtime) << runtime.error().message;
    const Op& op = **find_op(one.op);
    const auto arguments = parse_arguments(op, one.values);
    EXPECT_TRUE(arguments) << arguments.error().message;
    const auto trial = make_trial(**runtime, op, *arguments, *Arch::parse(one.arch), 1);
    EXPECT_TRUE(trial) << trial.error().message;
    for (int i = 0; trial && i < 2; ++i) {
      EXPECT_TRUE((*trial)->reset());
      const auto launched = (*trial)->launch();
      EXPECT_TRUE(launched) << launched.error().message << launched.error().log;
      EXPECT_EQ((*trial)->selection().implementation->name, expected);
      const auto errors = (*trial)->compare();
      EXPECT_TRUE(errors);
      for (const OutputError& error : *errors) {
        EXPECT_TRUE(error.passed())
            << error.name << ": " << error.bound_ratio << " of " << error.allowed;
      }
    }
    return (*runtime)->counters();
  }
  bool has_compiler(const char* arch) const {
    const auto runtime = *Runtime::create(options());
    return static_cast<bool>(runtime->compilers().chain(*Arch::parse(arch)).back()->toolchain());
  }

  test::TempFolder folder_;
};

// Each line names what serves and what does not.
void expect_one_line_each(const Names& lines, const Names& better, const std::string& serves) {
  EXPECT_EQ(lines.size(), better.size()) << testing::PrintToString(lines);
  for (const std::string& name : better) {
    const auto says = [&](const std::string& line) {
      return line.find(" in place of " + name) != std::string::npos;
    };
    EXPECT_EQ(std::count_if(lines.begin(), lines.end(), says), 1)
        << name << ", where " << serves << " serves: " << testing::PrintToString(lines);
  }
}

// From the last rung up: until a rung has served, no cache holds its kernel.
TEST_P(FallBackTest, EachRungServesWhereTheBetterOnesAreLostOrDisabled) {
  const Chain& one = GetParam();
  if (!has_compiler(one.arch)) GTEST_SKIP() << "no compiler for " << one.arch;
  const Op& op = **find_op(one.op);
  const Shape shape = parse_arguments(op, one.values)->shape;
  for (std::size_t rung = one.rungs.size(); rung-- > 0;) {
    const Names better(one.rungs.begin(), one.rungs.begin() + static_cast<std::ptrdiff_t>(rung));
    Names passed_over = one.unbuilt;
    passed_over.insert(passed_over.end(), better.begin(), better.end());
    const std::string& serves = one.rungs[rung];
    SCOPED_TRACE(serves);
    {
      const Heard heard;
      Options lost = options();
      lost.compilers.isolation = Isolation::all;
      lost.compilers.worker_program = KILN_WORKER_PROGRAM;
      lost.compilers.crashes =
          std::make_shared<KnownCrashes>(op, shape, *Arch::parse(one.arch), better);
      const Counters counters = call(one, lost, serves);
      EXPECT_EQ(counters.lost_fall_backs, rung);
      EXPECT_EQ(counters.not_built_fall_backs, one.unbuilt.size());
      EXPECT_EQ(counters.compiles, 1U);
      expect_one_line_each(heard.lines(), passed_over, serves);
      for (const std::string& line : heard.lines()) {
        if (line.find("sm_90a alone") != std::string::npos) continue;  // one of the unbuilt
        EXPECT_NE(line.find("Segmentation fault"), std::string::npos) << line;
      }
    }
    {
      const Heard heard;
      Options disabled = options();
      disabled.disabled_implementations = better;
      const Counters counters = call(one, disabled, serves);
      EXPECT_EQ(counters.not_built_fall_backs, passed_over.size());
      EXPECT_EQ(counters.compiles, 0U);
      expect_one_line_each(heard.lines(), passed_over, serves);
    }
  }
}

const Chain kChains[] = {
    {"kda_decode_simt",
     "kda_decode",
     "simt",
     {{"H", "2"}, {"HV", "4"}, {"batch", "3"}},
     {"kda_decode/small_batch", "kda_decode/several_tokens", "kda_decode/large_batch"}},
    {"kda_prefill_simt",
     "kda_prefill",
     "simt",
     {{"H", "1"}, {"HV", "2"}, {"batch", "2"}, {"tokens", "70"}},
     {"kda_prefill/chunk_parallel", "kda_prefill/chunked", "kda_prefill/lane_rows"}},
    {"kda_prefill_cpu",
     "kda_prefill",
     "cpu",
     {{"H", "1"}, {"HV", "2"}, {"batch", "2"}, {"tokens", "70"}},
     {"kda_prefill/chunked_cpu", "kda_prefill/cpu"}},
    {"attention_decode_simt",
     "attention_decode",
     "simt",
     {{"Hq", "4"}, {"Hkv", "1"}, {"batch", "2"}, {"length", "37"}},
     {"attention_decode/matrix", "attention_decode/split_kv"}},
    {"attention_decode_warp64",
     "attention_decode",
     "simt:warp64",
     {{"Hq", "4"}, {"Hkv", "1"}, {"batch", "2"}, {"length", "37"}},
     {"attention_decode/matrix", "attention_decode/split_kv"}},
    {"attention_decode_mla",
     "attention_decode",
     "simt",
     {{"Hq", "4"},
      {"Hkv", "1"},
      {"D_qk", "96"},
      {"D_vo", "64"},
      {"v_in_k", "true"},
      {"batch", "2"},
      {"length", "37"}},
     {"attention_decode/latent", "attention_decode/split_kv"}},
    {"attention_prefill_simt",
     "attention_prefill",
     "simt",
     {{"Hq", "2"}, {"Hkv", "1"}, {"batch", "1"}, {"q_len", "9"}, {"kv_len", "50"}},
     {"attention_prefill/mma", "attention_prefill/plain"},
     {"attention_prefill/wgmma"}},
    {"router_gemm_simt",
     "router_gemm",
     "simt",
     {{"N", "32"}, {"K", "256"}, {"M", "3"}},
     {"router_gemm/few_tokens", "router_gemm/matrix_tiles", "router_gemm/dot_tiles"}},
    {"qk_rmsnorm_simt", "qk_rmsnorm", "simt", {{"M", "3"}}, {"qk_rmsnorm/packs"}},
};
INSTANTIATE_TEST_SUITE_P(Ops, FallBackTest, testing::ValuesIn(kChains),
                         [](const auto& one) { return one.param.name; });

// Shapes, arguments and archs that the best implementation is not for.
using FallBackByRequest = FallBackTest;
TEST_P(FallBackByRequest, TheNextOneServes) {
  const Chain& one = GetParam();
  if (!has_compiler(one.arch)) GTEST_SKIP() << "no compiler for " << one.arch;
  const Heard heard;
  const Counters counters = call(one, options(), one.rungs.back());
  const Names better(one.rungs.begin(), one.rungs.end() - 1);
  EXPECT_EQ(counters.not_built_fall_backs + counters.not_served_fall_backs, better.size());
  EXPECT_EQ(counters.lost_fall_backs, 0U);
  expect_one_line_each(heard.lines(), better, one.rungs.back());
}

const Chain kRequests[] = {
    {"head_size_that_no_tile_has",
     "attention_prefill",
     "simt",
     {{"Hq", "2"}, {"Hkv", "1"}, {"D_qk", "100"}, {"D_vo", "36"}, {"q_len", "5"}},
     {"attention_prefill/wgmma", "attention_prefill/mma", "attention_prefill/plain"}},
    {"cache_type_that_is_not_multiplied",
     "attention_decode",
     "simt",
     {{"Hq", "4"}, {"Hkv", "1"}, {"io", "f32"}, {"batch", "2"}, {"length", "37"}},
     {"attention_decode/matrix", "attention_decode/split_kv"}},
    {"f16_where_mfma_is_of_bf16",
     "attention_decode",
     "simt:warp64",
     {{"Hq", "4"}, {"Hkv", "1"}, {"io", "f16"}, {"kv", "f16"}, {"batch", "2"}, {"length", "37"}},
     {"attention_decode/matrix", "attention_decode/split_kv"}},
    {"variant_that_the_tiles_have_no_place_for",
     "attention_decode",
     "simt",
     {{"Hq", "4"}, {"Hkv", "1"}, {"variant", "document"}, {"batch", "2"}, {"length", "37"}},
     {"attention_decode/matrix", "attention_decode/split_kv"}},
    {"chunks_that_do_not_fit",
     "kda_prefill",
     "simt",
     {{"H", "1"}, {"HV", "1"}, {"K", "256"}, {"V", "64"}, {"batch", "1"}, {"tokens", "5"}},
     {"kda_prefill/chunk_parallel", "kda_prefill/chunked", "kda_prefill/lane_rows"}},
    {"odd_depth",
     "router_gemm",
     "simt",
     {{"N", "32"}, {"K", "35"}, {"M", "40"}},
     {"router_gemm/few_tokens", "router_gemm/matrix_tiles", "router_gemm/dot_tiles"}},
    {"more_tokens_than_few",
     "router_gemm",
     "simt",
     {{"N", "32"}, {"K", "64"}, {"M", "40"}},
     {"router_gemm/few_tokens", "router_gemm/matrix_tiles"}},
};
INSTANTIATE_TEST_SUITE_P(Requests, FallBackByRequest, testing::ValuesIn(kRequests),
                         [](const auto& one) { return one.param.name; });

// Chips without the better one's instructions: what would serve there, and why no other does.
struct OldChip {
  const char* op;
  Values values;
  const char* arch;
  const char* serves;
  const char* reason;  // of one before it
};
TEST(FallBackSelection, OldChipsGetWhatTheyCanRun) {
  const auto runtime = *Runtime::create({});
  const OldChip chips[] = {
      {"attention_prefill", {}, "gfx1100", "attention_prefill/plain", "written for nvidia"},
      {"attention_decode", {}, "gfx1100", "attention_decode/split_kv", "has no MFMA on bf16"},
      {"attention_decode", {}, "gfx908", "attention_decode/split_kv", "has no MFMA on bf16"},
      {"kda_prefill", {}, "gfx1030", "kda_prefill/lane_rows", "has no bf16 MFMA"},
      {"kda_prefill", {}, "gfx908", "kda_prefill/lane_rows", "has no bf16 MFMA"},
      {"attention_prefill", {{"D_qk", "81"}}, "sm_90a", "attention_prefill/plain", "D_qk=81"},
      {"attention_prefill", {}, "x86-64-v2", "attention_prefill/cpu", "family x86_64"},
      {"attention_decode", {}, "x86-64-v2", "attention_decode/cpu", "family x86_64"},
  };
  for (const OldChip& chip : chips) {
    SCOPED_TRACE(std::string(chip.op) + " " + chip.arch);
    const Op& op = **find_op(chip.op);
    const auto chosen =
        runtime->select(op, parse_arguments(op, chip.values)->shape, *Arch::parse(chip.arch));
    ASSERT_TRUE(chosen) << chosen.error().message;
    EXPECT_EQ(chosen->implementation->name, chip.serves);
    const auto& passed_over = chosen->passed_over;
    EXPECT_TRUE(std::any_of(passed_over.begin(), passed_over.end(), [&](const auto& each) {
      return each.second.find(chip.reason) != std::string::npos;
    })) << testing::PrintToString(passed_over);
  }
}

// Every op has something for every chip from the oldest on that Kiln knows.
TEST(FallBackSelection, EveryOpServesEveryFamily) {
  const auto runtime = *Runtime::create({});
  for (const Op& op : ops()) {
    const Shape shape = parse_arguments(op, {})->shape;
    for (const char* arch : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120", "gfx908",
                             "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1201",
                             "x86-64-v2", "x86-64-v3", "x86-64-v4", "simt", "simt:warp64"}) {
      const auto chosen = runtime->select(op, shape, *Arch::parse(arch));
      EXPECT_TRUE(chosen) << chosen.error().message;
    }
    const auto older = runtime->select(op, shape, *Arch::parse("sm_75"));
    ASSERT_FALSE(older);
    EXPECT_EQ(older.error().code, ErrorCode::unavailable);
    EXPECT_NE(older.error().message.find("sm_75 is older than sm_80"), std::string::npos)
        << older.error().message;
  }
}

TEST(FallBackOptions, AWrongNameIsRefusedAndAllDisabledSaysSo) {
  Options options;
  options.disabled_implementations = {"attention_prefill/mna"};
  const auto wrong = Runtime::create(options);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(wrong.error().message.find("'attention_prefill/mna'"), std::string::npos);
  EXPECT_NE(wrong.error().message.find("attention_prefill/mma"), std::string::npos);
  const NameValue list[] = {{"KILN_DISABLE", "qk_rmsnorm/packs, ,qk_rmsnorm/cpu"}};
  const auto runtime = Runtime::create(*Options::from_environment(list));
  ASSERT_TRUE(runtime) << runtime.error().message;
  const Op& op = **find_op("qk_rmsnorm");
  const auto none = (*runtime)->select(op, parse_arguments(op, {})->shape, *Arch::parse("cpu"));
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("qk_rmsnorm/cpu: disabled by"), std::string::npos)
      << none.error().message;
}

}  // namespace
}  // namespace kiln
