// SPDX-License-Identifier: Apache-2.0
// Old, new and odd versions of the vendors' libraries, played by stubs (stub_nvrtc.cpp, ...).
#include <gtest/gtest.h>

#include <algorithm>

#include "jit/nvrtc_compiler.h"
#include "tests/jit/gpu_sample.h"
#include "tests/support/process.h"

namespace kiln::test {
namespace {

std::filesystem::path stub(const std::string& folder, const std::string& file) {
  return std::filesystem::path(KILN_STUBS) / folder / file;
}

class StubNvrtc {
 public:
  explicit StubNvrtc(const std::string& folder) {
    CompilerSettings settings;
    settings.nvrtc_library = stub(folder, "libnvrtc.so");
    compiler_ = std::make_unique<NvrtcCompiler>(settings);
  }
  Compiler* operator->() { return compiler_.get(); }

 private:
  std::unique_ptr<Compiler> compiler_;
};

CompileInput plain_for(const char* arch_name) {
  CompileInput input = gpu_sample(arch_name);
  input.name_expressions = {"plain"};
  return input;
}

bool holds(std::string_view text, std::string_view words) {
  return text.find(words) != std::string_view::npos;
}

std::string made(StubNvrtc& nvrtc, const char* arch_name) {
  const auto artifact = nvrtc->compile(plain_for(arch_name));
  return artifact ? std::string(as_text(artifact->code)) : words_of(artifact);
}

TEST(StubNvrtc, BeforeMachineCodeAndListsOfArchs) {
  StubNvrtc nvrtc("nvrtc-11.0");
  const auto description = nvrtc->describe(nullptr);
  ASSERT_TRUE(description) << words_of(description);
  EXPECT_EQ(description->version, "11.0");
  EXPECT_TRUE(description->archs.empty());
  EXPECT_EQ(description->limitations.size(), 5u);
  const auto artifact = nvrtc->compile(plain_for("sm_80"));
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(artifact->format, CodeFormat::ptx);
  EXPECT_TRUE(holds(as_text(artifact->code), "PTX compute_80 "));
  EXPECT_EQ(artifact->compiler_version, "11.0");
  EXPECT_TRUE(holds(artifact->note, "NVRTC 11.0 makes no machine code")) << artifact->note;
  // The newest that it knows has to be tried for.
  const auto newer = nvrtc->compile(plain_for("sm_90a"));
  ASSERT_TRUE(newer) << words_of(newer);
  EXPECT_TRUE(holds(as_text(newer->code), "PTX compute_80 "));
  EXPECT_TRUE(holds(newer->note, "does not know sm_90a: PTX for sm_80")) << newer->note;
  EXPECT_FALSE(nvrtc->can_compile(arch("sm_70")));
}

TEST(StubNvrtc, WithAllFunctionsAndACacheOfItsOwn) {
  StubNvrtc nvrtc("nvrtc-12.9");
  const auto description = nvrtc->describe(nullptr);
  ASSERT_TRUE(description) << words_of(description);
  EXPECT_EQ(description->archs,
            (std::vector<std::string>{"sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"}));
  EXPECT_TRUE(description->limitations.empty());
  EXPECT_TRUE(holds(made(nvrtc, "sm_120a"), "CUBIN sm_120a "));
  EXPECT_TRUE(holds(made(nvrtc, "sm_120a"), "--no-cache"));
  EXPECT_TRUE(holds(made(nvrtc, "sm_121"), "PTX compute_120 "));
  EXPECT_TRUE(holds(made(nvrtc, "sm_100a"), "PTX compute_100 "));  // only sm_120 has an `a` here
}

TEST(StubNvrtc, OddVersionsTurnOffWhatDependsOnThem) {
  for (const char* folder : {"nvrtc-version-fails", "nvrtc-no-version", "nvrtc-absurd"}) {
    StubNvrtc nvrtc(folder);
    const auto description = nvrtc->describe(nullptr);
    ASSERT_TRUE(description) << folder << words_of(description);
    EXPECT_EQ(description->version, "of unknown version");
    EXPECT_TRUE(
        std::any_of(description->limitations.begin(), description->limitations.end(),
                    [](const auto& text) { return holds(text, "does not say its version"); }));
    // --no-cache, which some versions refuse, is not given.
    EXPECT_TRUE(holds(made(nvrtc, "sm_90"), "CUBIN sm_90 ")) << made(nvrtc, "sm_90");
    EXPECT_TRUE(holds(made(nvrtc, "sm_130"), "PTX compute_90 ")) << made(nvrtc, "sm_130");
  }
}

TEST(StubNvrtc, AbsurdListsOfArchsAreNoLists) {
  for (const char* folder : {"nvrtc-negative", "nvrtc-absurd"}) {
    StubNvrtc nvrtc(folder);
    const auto description = nvrtc->describe(nullptr);
    ASSERT_TRUE(description) << folder << words_of(description);
    EXPECT_TRUE(description->archs.empty());
    EXPECT_TRUE(holds(made(nvrtc, "sm_86"), "CUBIN sm_86 "));
    const Answer old = nvrtc->can_compile(arch("sm_70"));
    EXPECT_TRUE(holds(old.reason(), "a list that this version does not give")) << old.reason();
  }
}

TEST(StubNvrtc, ALackOfARequiredFunctionIsOneLine) {
  StubNvrtc nvrtc("nvrtc-lacks-required");
  const auto artifact = nvrtc->compile(plain_for("sm_80"));
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(holds(artifact.error().message, "'nvrtcGetProgramLog'")) << words_of(artifact);
  EXPECT_FALSE(nvrtc->can_compile(arch("sm_80")));
}

TEST(StubNvrtc, AFailureNamesTheVersionTheArchAndThePlace) {
  StubNvrtc nvrtc("nvrtc-12.9");
  CompileInput input = plain_for("sm_90");
  input.source.text += "undeclared";
  const auto artifact = nvrtc->compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().message,
            "NVRTC 12.9 cannot compile reverse/simple sm_90: reverse/simple.cu:13: identifier "
            "\"undeclared\" is undefined");
}

// In a process of its own, since comgr is known by its name alone: a second one under the same name
// is refused.
std::string hiprtc_for(const std::string& folder, const std::string& file, const char* arch_name) {
  const ProcessResult result = run_process({KILN_JIT_PROBE, "hiprtc_for", arch_name},
                                           {{"KILN_HIPRTC_LIBRARY", stub(folder, file).string()},
                                            {"KILN_COMGR_LIBRARY", ""},
                                            {"LD_LIBRARY_PATH", ""}});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

TEST(StubHiprtc, EachPlaceThatItHasBeenIn) {
  struct Case {
    const char* folder;
    const char* file;
    const char* version;
    const char* arch;
    const char* other;  // a part of it that must be opened too
  };
  const Case cases[] = {
      {"rocm-5.2", "libamdhip64.so.5", "9.1 (comgr 2.8)", "gfx90a", "libamd_comgr.so.2"},
      {"rocm-5.7", "libhiprtc.so.5", "9.1 (comgr 2.8)", "gfx90a", "libhiprtc-builtins.so.5"},
      {"rocm-6", "libhiprtc.so.6", "9.1 (comgr 2.8)", "gfx90a:xnack-", "libhiprtc-builtins.so.6"},
      {"rocm-7", "libhiprtc.so.7", "10.1 (comgr 3.8)", "gfx1100", "libamd_comgr.so.3"},
      {"rocm-no-version", "libhiprtc.so.7", "of unknown version (comgr of unknown version)",
       "gfx942", "libamd_comgr.so.3"}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.folder);
    const std::string said = hiprtc_for(one.folder, one.file, one.arch);
    EXPECT_TRUE(holds(said, std::string("version: ") + one.version + "\n")) << said;
    EXPECT_TRUE(holds(said, "library: " + stub(one.folder, one.file).string() + "\n")) << said;
    EXPECT_TRUE(holds(said, "library: " + stub(one.folder, one.other).string() + "\n")) << said;
    EXPECT_TRUE(holds(said, std::string("artifact: ") + one.version + " registers 7\n")) << said;
  }
}

TEST(StubHiprtc, AChipThatComgrDoesNotListIsNotAskedFor) {
  const std::string said = hiprtc_for("rocm-6", "libhiprtc.so.6", "gfx942");
  EXPECT_TRUE(holds(said, "does not know gfx942; it knows gfx90a")) << said;
}

TEST(StubHiprtc, WhatIsBrokenIsOneLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"rocm-lacks-required", "'hiprtcGetCodeSize'"},
      {"rocm-comgr-lacks-required", "'amd_comgr_get_isa_name'"},
      {"rocm-lists-none", "comgr 3.8 does not say which archs it knows"},
      {"rocm-breaks-down", "cannot compile reverse/simple gfx942: status 7"}};
  for (const auto& [folder, words] : cases) {
    const std::string said = hiprtc_for(folder, "libhiprtc.so.7", "gfx942");
    EXPECT_TRUE(holds(said, words)) << folder << ": " << said;
  }
}

}  // namespace
}  // namespace kiln::test
