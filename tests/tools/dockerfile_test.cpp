// SPDX-License-Identifier: Apache-2.0
// The Dockerfile of docs/ci.md, followed line by line: the builder here, the image as a root folder
// of a mount namespace.
#include <gtest/gtest.h>

#include "tests/tools/bare_machine.h"

namespace kiln::test {
namespace {

using nlohmann::json;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  return {std::istream_iterator<std::string>(stream), {}};
}

struct Stage {
  std::map<std::string, std::string> environment;
  std::vector<std::vector<std::string>> runs;  // words of each RUN
  std::vector<std::vector<std::string>> copies;
  std::vector<std::string> command;
};

// The block's stages, by FROM.
std::vector<Stage> stages_of(const char* page) {
  std::ifstream file(page);
  std::vector<Stage> stages;
  bool in_block = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```")) in_block = line == "```dockerfile";
    if (!in_block) continue;
    std::vector<std::string> words = words_of(line);
    if (words.empty()) continue;
    const std::string what = words.front();
    words.erase(words.begin());
    if (what == "FROM") stages.emplace_back();
    if (what == "RUN") stages.back().runs.push_back(words);
    if (what == "COPY") stages.back().copies.push_back(words);
    if (what == "CMD") {
      const json list = json::parse(line.substr(line.find('[')));
      stages.back().command = list.get<std::vector<std::string>>();
    }
    if (what == "ENV") {
      const std::size_t equals = words[0].find('=');
      stages.back().environment[words[0].substr(0, equals)] = words[0].substr(equals + 1);
    }
  }
  return stages;
}

TEST(Dockerfile, OfTheDocumentationBuildsAnImageThatNeedsNoCompiler) {
  const std::vector<Stage> stages = stages_of(KILN_DOCS "/ci.md");
  ASSERT_EQ(stages.size(), 2U);
  const Stage& builder = stages[0];
  const Stage& image = stages[1];
  const BareMachine machine;

  // The builder's own root is this machine's, but for the folder that is copied from it.
  Jitctl jitctl;
  const std::string folder = builder.environment.at("KILN_CACHE_DIR");
  jitctl.set("KILN_CACHE_DIR", (machine.root() / fs::path(folder).relative_path()).string());
  fs::create_directories((machine.root() / fs::path(folder).relative_path()).parent_path());
  ASSERT_EQ(builder.runs.size(), 2U);
  for (const std::vector<std::string>& words : builder.runs) {
    ASSERT_EQ(words[0], "jitctl");
    const auto result = jitctl.run({words.begin() + 1, words.end()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  ASSERT_EQ(image.copies.size(), 2U);
  EXPECT_EQ(image.copies[1], (std::vector<std::string>{"--from=builder", folder, folder}));

  ASSERT_EQ(image.command.at(0), "jitctl");
  Environment environment(image.environment.begin(), image.environment.end());
  json object;
  const auto ran =
      machine.run({image.command.begin() + 1, image.command.end()}, &object, environment);
  SKIP_WHERE_NOT_PERMITTED(ran);
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(object["stats"]["layer_hits"], 1);
  EXPECT_EQ(object["stats"]["compiles"], 0);

  const auto missing =
      machine.run({"run", "qk_rmsnorm", "Nq=96", "M=4", "--no-time"}, &object, environment);
  EXPECT_EQ(missing.exit_code, 3) << missing.err;
  EXPECT_NE(missing.err.find("qk_rmsnorm/cpu Nq=96"), std::string::npos) << missing.err;
}

}  // namespace
}  // namespace kiln::test
