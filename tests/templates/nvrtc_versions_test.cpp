// SPDX-License-Identifier: Apache-2.0
// Every built-in kernel by real NVRTCs of other versions than this machine's: tools/fetch_nvrtc.sh
// brings them; where it could not, these tests are skipped with its reason.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "jit/nvrtc_compiler.h"
#include "templates/registry.h"
#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

// The newest arch that a version makes machine code for, and one that it does not know, for which
// it makes PTX of the first one's plain form.
struct Version {
  const char* number;
  const char* known;
  const char* unknown;
  const char* ptx_target;
};
// What CTest lists instead of the bytes.
void PrintTo(const Version& one, std::ostream* out) {
  *out << one.number;
}
constexpr Version kVersions[] = {{"11.8.89", "sm_80", "sm_90a", "sm_90"},
                                 {"12.1.105", "sm_90a", "sm_100a", "sm_90"},
                                 {"12.9.86", "sm_120a", "sm_130", "sm_121"}};

class NvrtcVersion : public testing::TestWithParam<Version> {
 protected:
  void SetUp() override {
    const fs::path folder = fs::path(KILN_NVRTC_VERSIONS_FOLDER) / GetParam().number;
    std::error_code error;
    CompilerSettings settings;
    for (const auto& file : fs::directory_iterator(folder, error)) {
      const std::string name = file.path().filename().string();
      if (name.starts_with("libnvrtc.so.")) settings.nvrtc_library = file.path();
    }
    if (!settings.nvrtc_library) {
      std::ifstream stream(folder / "why-not.txt");
      std::string reason;
      std::getline(stream, reason);
      GTEST_SKIP() << (reason.empty() ? "tools/fetch_nvrtc.sh did not run" : reason);
    }
    compiler_ = std::make_unique<NvrtcCompiler>(settings);
  }

  // What every built-in kernel at its default shape is for `arch_name`.
  std::vector<CompileInput> inputs(const char* arch_name) const {
    std::vector<CompileInput> found;
    for (const Op& op : ops()) {
      const Shape shape = parse_arguments(op, {})->shape;
      for (const Implementation& implementation : op.implementations) {
        if (!can_build(implementation, shape, arch(arch_name))) continue;
        found.push_back(*make_input(op, implementation, shape, arch(arch_name)));
      }
    }
    EXPECT_GE(found.size(), 6u);
    return found;
  }

  std::unique_ptr<Compiler> compiler_;
};

TEST_P(NvrtcVersion, SaysWhichItIs) {
  const auto description = compiler_->describe();
  ASSERT_TRUE(description) << words_of(description);
  EXPECT_TRUE(std::string_view(GetParam().number).starts_with(description->version + "."));
  EXPECT_TRUE(description->limitations.empty());
  EXPECT_FALSE(description->archs.empty());
}

TEST_P(NvrtcVersion, EveryKernelAsMachineCode) {
  for (const CompileInput& input : inputs(GetParam().known)) {
    const auto artifact = compiler_->compile(input);
    ASSERT_TRUE(artifact) << words_of(artifact);
    EXPECT_EQ(artifact->format, CodeFormat::cubin) << artifact->note;
    EXPECT_EQ(as_text(artifact->code).substr(1, 3), "ELF");
    for (const EntryPoint& entry : artifact->entries) {
      EXPECT_GT(entry.resources.registers.value_or(0), 0) << input.label();
      EXPECT_EQ(entry.resources.spill_store_bytes, 0) << input.label();
    }
  }
}

TEST_P(NvrtcVersion, EveryKernelAsPtxForAnArchThatItDoesNotKnow) {
  const std::string target = std::string(".target ") + GetParam().ptx_target + "\n";
  for (const CompileInput& input : inputs(GetParam().unknown)) {
    const auto artifact = compiler_->compile(input);
    ASSERT_TRUE(artifact) << words_of(artifact);
    EXPECT_EQ(artifact->format, CodeFormat::ptx);
    EXPECT_NE(as_text(artifact->code).find(target), std::string_view::npos) << artifact->note;
    EXPECT_NE(artifact->note.find(GetParam().unknown), std::string::npos) << artifact->note;
  }
}

TEST_P(NvrtcVersion, TheWholeDialect) {
  const auto artifact = compiler_->compile(
      test_source_input("dialect.cu", arch(GetParam().known), {"kiln::dialect_test::dialect"}));
  EXPECT_TRUE(artifact) << words_of(artifact);
}

TEST_P(NvrtcVersion, AnErrorIsMappedToTheTemplate) {
  CompileInput input = inputs(GetParam().known).front();
  const long line = 1 + std::count(input.source.text.begin(), input.source.text.end(), '\n');
  input.source.text += "int wrong = undeclared;\n";
  const auto artifact = compiler_->compile(input);
  ASSERT_FALSE(artifact);
  const std::string place =
      input.source.name + ":" + std::to_string(line) + ":";  // some say the column too
  EXPECT_NE(artifact.error().message.find(place), std::string::npos) << artifact.error().message;
  EXPECT_NE(artifact.error().message.find(input.label()), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Wheels, NvrtcVersion, testing::ValuesIn(kVersions),
                         [](const auto& version) {
                           std::string name = version.param.number;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return "v" + name;
                         });

}  // namespace
}  // namespace kiln::test
