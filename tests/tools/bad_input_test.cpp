// SPDX-License-Identifier: Apache-2.0
// Every command answers bad input with one clear line and the right exit code, and loses nothing.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <map>
#include <sstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using nlohmann::json;

struct BadInput {
  std::string name;
  std::vector<std::string> words;
  int exit_code;
  std::vector<std::string> says;  // all of these, in the one line on stderr
};

// What CTest lists instead of the bytes.
void PrintTo(const BadInput& bad, std::ostream* out) {
  *out << bad.name;
}

class BadInputTest : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputTest, IsOneClearLineAndTheRightExitCode) {
  const BadInput& bad = GetParam();
  const Jitctl jitctl;
  const auto result = jitctl.run(bad.words);
  EXPECT_EQ(result.exit_code, bad.exit_code) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  for (const std::string& part : bad.says) {
    EXPECT_NE(result.err.find(part), std::string::npos)
        << "'" << part << "' not in: " << result.err;
  }
}

const std::vector<BadInput> kBadInputs = {
    {"unknown_command", {"prewram"}, 2, {"unknown command 'prewram'", "'prewarm'"}},
    {"unknown_option", {"run", "kda_decode", "--fast"}, 2, {"--fast", "jitctl run --help"}},
    {"unknown_op", {"run", "kda_decod"}, 2, {"'kda_decod' (did you mean 'kda_decode'?)"}},
    {"unknown_op_prewarm", {"prewarm", "nonsense"}, 2, {"nonsense", "kda_decode"}},
    {"unknown_op_ops", {"ops", "nonsense"}, 2, {"nonsense", "kda_decode"}},
    {"missing_op", {"run"}, 2, {"OP"}},
    {"missing_request", {"prewarm"}, 2, {"--config"}},
    {"both_requests", {"prewarm", "kda_decode", "--config", model_config()}, 2, {"either"}},
    {"unknown_op_explain", {"explain", "kda_decod"}, 2, {"kda_decod", "kda_decode"}},
    {"gc_size", {"gc", "--size", "much"}, 2, {"--size", "much", "K, M, G"}},
    {"ls_after", {"ls", "--after", "12"}, 2, {"--after", "12", "--limit"}},
    {"unknown_param", {"which", "kda_decode", "HVV=4"}, 2, {"'HVV' (did you mean 'HV'?)"}},
    {"short_param", {"which", "attention_decode", "Hz=4"}, 2, {"'Hz' (did you mean 'Hq'?)"}},
    {"no_value", {"which", "kda_decode", "HV"}, 2, {"'HV'", "name=value"}},
    {"wrong_type", {"which", "kda_decode", "HV=many"}, 2, {"HV", "many"}},
    {"out_of_range", {"which", "kda_decode", "HV=0"}, 2, {"HV", "0"}},
    {"unknown_word", {"which", "kda_decode", "gate=soft"}, 2, {"gate", "soft", "softplus"}},
    {"twice", {"which", "kda_decode", "HV=4", "HV=8"}, 2, {"HV"}},
    {"call_param", {"compile", "kda_decode", "batch=4"}, 2, {"batch", "run-time argument"}},
    {"not_built", {"which", "attention_prefill", "D_qk=1000"}, 4, {"D_qk=1000"}},
    {"groups", {"which", "kda_decode", "H=3", "HV=4"}, 4, {"HV", "H"}},
    {"arch_form", {"which", "kda_decode", "--arch", "sm_9"}, 2, {"sm_9", "sm_90a"}},
    {"arch_unknown", {"which", "kda_decode", "--arch", "hopper"}, 2, {"hopper", "sm_90a"}},
    {"arch_suffix", {"which", "kda_decode", "--arch", "sm_80a"}, 2, {"sm_80a", "sm_90"}},
    {"arch_empty", {"prewarm", "kda_decode", "--arch", ""}, 2, {"--arch"}},
    {"arch_no_compiler", {"prewarm", "kda_decode", "--arch", "gfx9999"}, 4, {"gfx9999"}},
    {"arch_no_driver", {"run", "kda_decode", "--arch", "gfx90a"}, 4, {"HIP"}},
    {"tp_range", {"prewarm", "--config", model_config(), "--tp", "0"}, 2, {"--tp"}},
    {"tp_heads", {"prewarm", "--config", model_config(), "--tp", "5"}, 2, {"num_heads", "--tp 5"}},
    {"config_absent", {"prewarm", "--config", "no.json"}, 2, {"no.json"}},
    {"emit_kind", {"compile", "kda_decode", "--emit", "sass"}, 2, {"--emit"}},
    {"emit_other_compiler", {"compile", "kda_decode", "--emit", "ptx"}, 2, {"ptx"}},
    {"show_no_key", {"show", "xyz"}, 2, {"xyz", "jitctl ls"}},
    {"show_unknown_key", {"show", "abcdef"}, 2, {"abcdef", "jitctl ls"}},
    {"export_nothing", {"export", "none.kbundle", "--unsigned"}, 1, {"holds no kernel"}},
    {"export_no_key", {"export", "none.kbundle"}, 1, {"signing_key", "jitctl key new"}},
    {"export_both_ways", {"export", "x", "--unsigned", "--key", "k"}, 2, {"--key"}},
    {"import_absent", {"import", "none.kbundle"}, 1, {"none.kbundle", "No such file"}},
    {"import_no_bundle", {"import", KILN_JITCTL}, 1, {"no bundle of Kiln's"}},
    {"import_folder", {"import", "."}, 1, {"not a regular file"}},
    {"merge_one", {"merge", "a", "-o", "b"}, 2, {"FILE"}},
    {"merge_absent", {"merge", "a", "b", "-o", "c", "--unsigned"}, 1, {"'a'", "No such file"}},
    {"key_trust_no_key", {"key", "trust", "abc"}, 2, {"'abc'", "ed25519:"}},
    {"key_no_action", {"key"}, 2, {"jitctl key --help"}},
    {"verify_no_layer", {"verify", "--layer", "none"}, 1, {"none"}},
    {"audit_both", {"audit", "--all", "--sample", "3"}, 2, {"--all"}},
    {"audit_sample", {"audit", "--sample", "x"}, 2, {"--sample", "x"}},
    {"option_near", {"prewarm", "kda_decode", "--archs", "cpu"}, 2, {"--archs", "'--arch'"}},
    {"option_near_deep", {"key", "show", "--jsno"}, 2, {"--jsno", "'--json'"}},
    {"key_near", {"key", "shw"}, 2, {"unknown command 'key shw'", "'show'", "trust"}},
    {"key_new_extra", {"key", "new", "a", "b"}, 2, {"'b'", "jitctl key new --help"}},
    {"key_show_absent", {"key", "show", "none.key"}, 1, {"none.key"}},
    {"plan_no_action", {"plan"}, 2, {"jitctl plan --help"}},
    {"plan_near", {"plan", "merg"}, 2, {"'plan merg'", "'merge'"}},
    {"plan_show_nothing", {"plan", "show"}, 2, {"FILE"}},
    {"plan_absent", {"plan", "show", "no.plan"}, 2, {"'no.plan'", "No such file"}},
    {"plan_folder", {"plan", "show", "."}, 2, {"directory"}},
    {"plan_no_plan", {"plan", "show", KILN_JITCTL}, 2, {":1: ", "kiln-plan 1"}},
    {"plan_merge_absent", {"plan", "merge", "no.plan", "-o", "x"}, 2, {"no.plan"}},
    {"plan_merge_no_output", {"plan", "merge", "a.plan"}, 2, {"-o"}},
    {"prewarm_plan_absent", {"prewarm", "--plan", "no.plan"}, 2, {"no.plan"}},
    {"prewarm_plan_empty", {"prewarm", "--plan", ","}, 2, {"--plan"}},
    {"prewarm_plan_and_op", {"prewarm", "kda_decode", "--plan", "no.plan"}, 2, {"either"}},
    {"shard_zero", {"prewarm", "kda_decode", "--shard", "0/3"}, 2, {"--shard '0/3'", "2/8"}},
    {"shard_beyond", {"prewarm", "kda_decode", "--shard", "4/3"}, 2, {"--shard '4/3'"}},
    {"shard_word", {"prewarm", "kda_decode", "--shard", "half"}, 2, {"--shard 'half'"}},
    {"shard_empty", {"prewarm", "kda_decode", "--shard", ""}, 2, {"--shard ''"}},
    {"jobs_zero", {"prewarm", "kda_decode", "--jobs", "0"}, 2, {"--jobs"}},
    {"jobs_word", {"prewarm", "kda_decode", "--jobs", "many"}, 2, {"--jobs", "many"}},
    {"page_size", {"prewarm", "--config", model_config(), "--page-size", "0"}, 2, {"--page-size"}},
    {"kv_type", {"prewarm", "--config", model_config(), "--kv", "int3"}, 2, {"int3", "e4m3"}},
    {"arch_near", {"which", "kda_decode", "--arch", "sm90a"}, 2, {"'sm_90a'"}},
    {"arch_case", {"which", "kda_decode", "--arch", "GFX90A"}, 2, {"'gfx90a'"}},
    {"arch_product", {"which", "kda_decode", "--arch", "H100"}, 2, {"did you mean 'sm_90a'"}},
    {"arch_level", {"which", "kda_decode", "--arch", "x86_64-v3"}, 2, {"'x86-64-v3'"}},
    {"run_warp", {"run", "kda_decode", "--warp", "48"}, 2, {"--warp", "48"}},
    {"run_check_not_simt", {"run", "kda_decode", "--check"}, 2, {"--arch simt"}},
    {"run_seconds", {"run", "kda_decode", "--seconds", "-1"}, 2, {"--seconds"}},
    {"run_seed", {"run", "kda_decode", "--seed", "x"}, 2, {"--seed", "x"}},
    {"compile_output",
     {"compile", "qk_rmsnorm", "--emit", "source", "-o", "/no/such/f"},
     1,
     {"/no/such/f"}},
    {"compile_param", {"compile", "qk_rmsnorm", "weigths=f32"}, 2, {"'weights'"}},
    {"explain_arch", {"explain", "kda_decode", "--arch", "sm_"}, 2, {"sm_"}},
    {"explain_no_op", {"explain"}, 2, {"OP"}},
    {"ls_limit", {"ls", "--limit", "0"}, 2, {"--limit"}},
    {"ls_extra", {"ls", "a", "b"}, 2, {"'b'", "jitctl ls --help"}},
    {"show_nothing", {"show"}, 2, {"KEY"}},
    {"stats_extra", {"stats", "now"}, 2, {"'now'", "jitctl stats --help"}},
    {"doctor_extra", {"doctor", "me"}, 2, {"'me'", "jitctl doctor --help"}},
    {"verify_both", {"verify", "--quarantine", "--layer", "x"}, 2, {"--layer"}},
    {"gc_extra", {"gc", "all"}, 2, {"'all'"}},
    {"export_no_file", {"export"}, 2, {"FILE"}},
    {"import_no_file", {"import"}, 2, {"FILE"}},
    {"merge_no_output", {"merge", "a", "b"}, 2, {"-o"}},
    {"generate_kind", {"generate", "tcsh"}, 2, {"tcsh"}},
    {"prewarm_option_value", {"prewarm", "kda_decode", "--arch"}, 2, {"--arch"}},
    {"state_type", {"prewarm", "--config", model_config(), "--state", "f8"}, 2, {"f8", "bf16"}},
    {"config_folder", {"prewarm", "--config", "."}, 2, {"cannot read '.'", "directory"}},
    {"config_no_json", {"prewarm", "--config", KILN_JITCTL}, 2, {"is not JSON"}},
    {"plan_show_arch", {"plan", "show", "a", "--arch", "cpu"}, 2, {"'--arch'", "plan show --help"}},
    {"which_variant", {"which", "attention_decode", "--variant", "no.json"}, 2, {"'no.json'"}},
    {"compile_variant", {"compile", "attention_decode", "--variant", "no.json"}, 2, {"'no.json'"}},
    {"compile_arch", {"compile", "kda_decode", "--arch", "sm_"}, 2, {"sm_"}},
    {"explain_variant", {"explain", "attention_decode", "--variant", "no.json"}, 2, {"'no.json'"}},
    {"run_variant", {"run", "attention_decode", "--variant", "no.json"}, 2, {"'no.json'"}},
    {"variant_folder", {"which", "attention_decode", "--variant", "."}, 2, {"cannot read '.'"}},
    {"run_variant_no_json",
     {"run", "attention_decode", "--variant", KILN_JITCTL},
     2,
     {"--variant '" KILN_JITCTL "'"}},
    {"run_variant_unknown", {"run", "attention_decode", "variant=alibbi"}, 2, {"alibbi"}},
    {"audit_seed", {"audit", "--seed", "x"}, 2, {"--seed", "x"}},
    {"export_arch", {"export", "x", "--unsigned", "--arch", "H100"}, 2, {"mean 'sm_90a'"}},
    {"export_op", {"export", "x", "--unsigned", "--op", "kda_decod"}, 1, {"holds no kernel"}},
    {"export_layer", {"export", "x", "--unsigned", "--layer", "none"}, 1, {"'none'"}},
    {"merge_key", {"merge", "a", "b", "-o", "c", "--key", "none.key"}, 1, {"none.key"}},
    {"import_extra", {"import", "a", "b"}, 2, {"'b'", "jitctl import --help"}},
};

INSTANTIATE_TEST_SUITE_P(Commands, BadInputTest, testing::ValuesIn(kBadInputs),
                         [](const auto& one) { return one.param.name; });

// The commands of the man page, each with its options that take a value.
std::map<std::string, std::vector<std::string>> options_by_command() {
  const std::string page = Jitctl().run({"generate", "man"}).out;
  std::map<std::string, std::vector<std::string>> commands;
  std::istringstream lines(page);
  std::string command;
  for (std::string line; std::getline(lines, line);) {
    for (std::size_t at; (at = line.find('\\')) != std::string::npos;) {
      line.erase(at, line.compare(at, 2, "\\f") == 0 ? 3 : 1);
    }
    std::istringstream stream(line);
    const std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
    if (line.starts_with(".SS \"jitctl ")) {
      command = words.at(2);
      // The next word is another command's name, or an argument, in capitals.
      if (words.size() > 3 && std::islower(static_cast<unsigned char>(words[3][0]))) {
        command += " " + words[3];
      }
      command.erase(std::remove(command.begin(), command.end(), '"'), command.end());
      commands[command];
    } else if (words.size() > 1 && words[0].starts_with("-") && words.back() == "WORD") {
      commands[command].push_back(words[words.size() - 2]);
    }
  }
  return commands;
}

// A command or an option that is new and has no row here is found by this.
TEST(BadInputs, EveryCommandAndEveryOptionWithAValueHasOne) {
  const auto commands = options_by_command();
  ASSERT_GE(commands.size(), 20U);
  const auto has_row = [](const std::string& command, const std::string& option) {
    return std::any_of(kBadInputs.begin(), kBadInputs.end(), [&](const BadInput& bad) {
      std::string line;
      for (const std::string& word : bad.words) line += word + " ";
      const bool is_here = std::find(bad.words.begin(), bad.words.end(), option) != bad.words.end();
      return line.starts_with(command + " ") && (option.empty() || is_here);
    });
  };
  std::size_t options = 0;
  for (const auto& [command, with_value] : commands) {
    EXPECT_TRUE(has_row(command, "")) << command;
    for (const std::string& option : with_value) {
      ++options;
      EXPECT_TRUE(has_row(command, option)) << command << " " << option;
    }
  }
  EXPECT_GE(options, 30U);
}

TEST(BadUsage, IsAnObjectUnderJson) {
  const Jitctl jitctl;
  json object;
  EXPECT_EQ(jitctl.run_json({"ls", "--limit", "0"}, &object).exit_code, 2);
  EXPECT_EQ(object["error"]["code"], "invalid_argument");
}

TEST(BadEnvironment, NamesVariableValueAndWhatIsAccepted) {
  const std::vector<std::array<const char*, 3>> cases = {
      {"KILN_CACHE_POLICY", "sometimes", "read_write"},
      {"KILN_TOOLCHAIN", "new", "exact"},
      {"KILN_CACHE_SIZE", "lots", "bytes"},
      {"KILN_JOBS", "0", "1 to 1024"},
      {"KILN_LOG", "loud", "warning"},
      {"KILN_ISOLATION", "some", "off, hiprtc, all"},
      {"KILN_CACHE_LAYERS", "/one:two", "'two' is none"},
  };
  for (const auto& [variable, value, accepted] : cases) {
    Jitctl jitctl;
    jitctl.set(variable, value);
    const auto result = jitctl.run({"stats"});
    EXPECT_EQ(result.exit_code, 2) << variable;
    EXPECT_NE(result.err.find(std::string(variable) + "='" + value + "'"), std::string::npos)
        << result.err;
    EXPECT_NE(result.err.find(accepted), std::string::npos) << result.err;
  }
}

TEST(BadLibrary, AnOverrideThatIsNoFileIsNamed) {
  Jitctl jitctl;
  jitctl.set("KILN_NVRTC_LIBRARY", "/no/such/libnvrtc.so");
  const auto result = jitctl.run({"compile", "kda_decode", "--arch", "sm_90a"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_NE(result.err.find("KILN_NVRTC_LIBRARY"), std::string::npos) << result.err;
  const auto skipped = jitctl.run(
      {"prewarm", "kda_decode", "H=2", "HV=2", "--arch", "sm_90a,cpu", "--skip-unavailable"});
  EXPECT_EQ(skipped.exit_code, 0) << skipped.err;
  EXPECT_NE(skipped.out.find("skipped sm_90a"), std::string::npos) << skipped.out;
}

// `prewarm` exists to store, so it fails; `run` goes on without a disk cache.
void expect_refused_folder(const Jitctl& jitctl, std::string_view reason) {
  const auto prewarm = jitctl.run({"prewarm", "kda_decode", "H=2", "HV=2"});
  EXPECT_EQ(prewarm.exit_code, 1) << prewarm.err;
  EXPECT_NE(prewarm.err.find(reason), std::string::npos) << prewarm.err;
  nlohmann::json object;
  const auto run =
      jitctl.run_json({"run", "kda_decode", "H=2", "HV=2", "batch=1", "--no-time"}, &object);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(object["passed"], true);
  EXPECT_EQ(object["stats"]["compiles"], 1);
  EXPECT_GE(object["stats"]["cache_errors"], 1);
}

TEST(BadCacheFolder, GroupWritable) {
  const Jitctl jitctl;
  std::filesystem::create_directory(jitctl.cache_folder());
  std::filesystem::permissions(jitctl.cache_folder(), std::filesystem::perms(0770));
  expect_refused_folder(jitctl, "chmod");
  EXPECT_TRUE(std::filesystem::is_empty(jitctl.cache_folder()));
}

TEST(BadCacheFolder, NotAFolder) {
  const Jitctl jitctl;
  (void)jitctl.home().write("cache", "a file");
  expect_refused_folder(jitctl, "cache");
}

TEST(BadCacheFolder, NotWritable) {
  const Jitctl jitctl;
  // Root may write anywhere except where nobody may: below /proc.
  Jitctl proc;
  proc.set("KILN_CACHE_DIR", "/proc/kiln-cache");
  expect_refused_folder(proc, "/proc/kiln-cache");
}

TEST(BadCacheFolder, FullDisk) {
  Jitctl jitctl;
  const auto mount_point = jitctl.home().path() / "small";
  std::filesystem::create_directory(mount_point);
  if (mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=96k,mode=0700") != 0) {
    GTEST_SKIP() << "a full disk needs a small tmpfs, and mounting one is not permitted here";
  }
  jitctl.set("KILN_CACHE_DIR", (mount_point / "cache").string());
  const auto prewarm = jitctl.run({"prewarm", "kda_decode", "H=2", "HV=2"});
  EXPECT_EQ(prewarm.exit_code, 1) << prewarm.out << prewarm.err;
  EXPECT_NE(prewarm.err.find("full"), std::string::npos) << prewarm.err;
  const auto run = jitctl.run({"run", "kda_decode", "H=2", "HV=2", "batch=1", "--no-time"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  umount2(mount_point.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace kiln::test
