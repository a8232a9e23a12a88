// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/jitctl.h"

namespace kiln::test {

Jitctl::Jitctl() {
  changes_ = {{"HOME", home_.path().string()},
              {"XDG_CACHE_HOME", ""},
              {"KILN_CACHE_DIR", cache_folder().string()},
              {"KILN_CACHE_LAYERS", ""},
              {"KILN_CACHE_POLICY", ""},
              {"KILN_CACHE_SIZE", ""},
              {"KILN_TOOLCHAIN", ""},
              {"KILN_JOBS", ""},
              {"KILN_RECORD_PLAN", ""},
              {"KILN_ISOLATION", ""},
              {"KILN_WORKER", ""},
              {"KILN_LOG", ""}};
}

ProcessResult Jitctl::run(std::vector<std::string> words) const {
  return run_under({}, words);
}

ProcessResult Jitctl::run_under(std::vector<std::string> program,
                                const std::vector<std::string>& words) const {
  program.emplace_back(KILN_JITCTL);
  program.insert(program.end(), words.begin(), words.end());
  return run_process(program, changes_);
}

ProcessResult Jitctl::run_json(std::vector<std::string> words, nlohmann::json* object) const {
  words.insert(words.begin() + 1, "--json");
  ProcessResult result = run(std::move(words));
  *object = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  if (object->is_discarded()) *object = nullptr;
  return result;
}

std::string model_config() {
  return KILN_TEST_DATA "/kimi-linear-48b-a3b.config.json";
}

}  // namespace kiln::test
