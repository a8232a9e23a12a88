// SPDX-License-Identifier: Apache-2.0
// A machine made for a test: a root folder with jitctl, the libraries that it links to, and what
// the test copies there. What is not copied is not there.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/tools/jitctl.h"

namespace kiln::test {

namespace fs = std::filesystem;

// Of bare_root, where no mount namespace of one's own is permitted.
inline constexpr int kNotPermitted = 77;

// The libraries that the loader finds for a program or library, by the paths that it uses.
inline std::vector<fs::path> linked_libraries(const fs::path& file) {
  std::vector<fs::path> found;
  std::istringstream lines(run_process({"/usr/bin/ldd", file.string()}).out);
  for (std::string word; lines >> word;) {
    if (word.starts_with("/")) found.emplace_back(word);
  }
  return found;
}

class BareMachine {
 public:
  BareMachine() {
    fs::create_directories(root() / "proc");
    copy(KILN_JITCTL, "/bin/jitctl");
    for (const fs::path& library : linked_libraries(KILN_JITCTL)) copy(library, library);
  }

  fs::path root() const { return folder_.path(); }

  void copy(const fs::path& file, const fs::path& to) const {
    const fs::path target = root() / to.relative_path();
    fs::create_directories(target.parent_path());
    fs::copy_file(file, target, fs::copy_options::overwrite_existing);
  }

  // The library with its build-id, and as a core dump in its header, which no loader takes.
  void copy_unloadable(const fs::path& file) const {
    constexpr std::streamoff kTypeAt = 16;
    constexpr char kCore = 4;
    const fs::path real = fs::canonical(file);
    copy(real, real);
    fs::resize_file(root() / real.relative_path(), 64 << 10);
    std::fstream(root() / real.relative_path(), std::ios::in | std::ios::out | std::ios::binary)
        .seekp(kTypeAt)
        .put(kCore);
    if (real == file) return;
    fs::create_directories((root() / file.relative_path()).parent_path());
    fs::create_symlink(real, root() / file.relative_path());
  }

  ProcessResult run(std::vector<std::string> words, nlohmann::json* object,
                    const Environment& changes = {}) const {
    words.insert(words.begin(), {KILN_BARE_ROOT, root().string(), "/bin/jitctl"});
    words.emplace_back("--json");
    Environment environment = {{"HOME", "/"},
                               {"XDG_CACHE_HOME", ""},
                               {"LD_LIBRARY_PATH", ""},
                               {"KILN_CACHE_DIR", "/cache"},
                               {"KILN_CACHE_LAYERS", "/layer"},
                               {"KILN_CACHE_POLICY", ""},
                               {"KILN_TOOLCHAIN", ""},
                               {"KILN_LLVM_LIBRARY", ""}};
    for (const auto& [name, value] : changes) environment[name] = value;
    ProcessResult result = run_process(words, environment);
    *object = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    if (object->is_discarded()) *object = nullptr;
    return result;
  }

 private:
  TempFolder folder_;
};

#define SKIP_WHERE_NOT_PERMITTED(result)                                                   \
  if ((result).exit_code == kNotPermitted) {                                               \
    GTEST_SKIP() << "no mount namespace of one's own is permitted here: " << (result).err; \
  }

}  // namespace kiln::test
