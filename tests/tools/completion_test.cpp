// SPDX-License-Identifier: Apache-2.0
// What 'jitctl generate' makes, by the opinion of who reads it: bash, zsh, fish and man.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

// A line that ends at the cursor, and the one word that is offered there.
const std::vector<std::pair<std::string, std::string>> kLines = {
    {"jitctl prew", "prewarm"},
    {"jitctl prewarm --sh", "--shard"},
    {"jitctl run kda_d", "kda_decode"},
    {"jitctl run kda_decode gate=soft", "gate=softplus"},
    {"jitctl which kda_decode --arch sm_9", "sm_90a"},
    {"jitctl plan mer", "merge"},
};

class Completion : public testing::Test {
 protected:
  // The file that a shell reads.
  std::string generated(const std::string& kind, const std::string& name) const {
    const auto made = jitctl_.run({"generate", kind});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return jitctl_.home().write(name, made.out).string();
  }

  Jitctl jitctl_;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST_F(Completion, Bash) {
  const std::string program =
      "source \"$0\"; COMP_LINE=\"$1\"; COMP_POINT=${#1}; "
      "read -ra COMP_WORDS <<<\"$1\"; "
      "[[ $1 == *' ' ]] && COMP_WORDS+=(''); "
      "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }; "
      "_jitctl; echo \"${COMPREPLY[*]}\"";
  const std::string script = generated("bash", "jitctl.bash");
  for (const auto& [line, word] : kLines) {
    // What stands before '=' is a word of its own to bash.
    const std::string last = word.substr(word.find('=') + 1);
    EXPECT_EQ(run_process({"/bin/bash", "-c", program, script, line}).out, last + "\n") << line;
  }
}

TEST_F(Completion, Zsh) {
  if (!std::filesystem::exists("/usr/bin/zsh")) GTEST_SKIP() << "no zsh here: tools/install.sh";
  const std::filesystem::path script = generated("zsh", "_jitctl");
  std::vector<std::string> words = {"/usr/bin/zsh", "-f", KILN_TOOLS_TESTS "/zsh_completions.zsh",
                                    script.parent_path().string()};
  for (const auto& [line, word] : kLines) words.push_back(line);
  const auto offered = run_process(words);
  const std::vector<std::string> answers = lines_of(offered.out);
  ASSERT_EQ(answers.size(), kLines.size()) << offered.out << offered.err;
  for (std::size_t i = 0; i < kLines.size(); ++i) {
    EXPECT_EQ(answers[i], kLines[i].second) << kLines[i].first;
  }
}

TEST_F(Completion, Fish) {
  if (!std::filesystem::exists("/usr/bin/fish")) GTEST_SKIP() << "no fish here: tools/install.sh";
  std::string program = "source " + generated("fish", "jitctl.fish") + "\n";
  for (const auto& [line, word] : kLines) program += "complete -C '" + line + "'; echo\n";
  // A flag takes no word, so that what follows it is completed as ever.
  program += "complete -C 'jitctl run --json kda_d'; echo\n";
  const auto offered = run_process({"/usr/bin/fish", "--no-config", "-c", program},
                                   {{"HOME", jitctl_.home().path().string()}});
  EXPECT_EQ(offered.err, "");
  std::vector<std::string> words;  // before the tab that a description follows
  for (const std::string& line : lines_of(offered.out)) {
    if (!line.empty()) words.push_back(line.substr(0, line.find('\t')));
  }
  std::vector<std::string> expected;
  for (const auto& [line, word] : kLines) expected.push_back(word);
  expected.emplace_back("kda_decode");
  EXPECT_EQ(words, expected);
}

TEST_F(Completion, ManPage) {
  const std::string page = generated("man", "jitctl.1");
  if (!std::filesystem::exists("/usr/bin/man")) GTEST_SKIP() << "no man here: tools/install.sh";
  const auto read = run_process({"/usr/bin/man", "--warnings", "-l", "-P", "cat", page},
                                {{"MANWIDTH", "90"}, {"LC_ALL", "C"}});
  EXPECT_EQ(read.exit_code, 0) << read.err;
  EXPECT_EQ(read.err, "");
  for (const char* text : {"jitctl doctor", "jitctl key trust", "\n       --json Print ",
                           "\n       --shard WORD\n", "EXIT STATUS", "KILN_CACHE_LAYERS"}) {
    EXPECT_NE(read.out.find(text), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace kiln::test
