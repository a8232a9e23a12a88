// SPDX-License-Identifier: Apache-2.0
// What goes into a message comes out of it: else another kernel would be compiled than the key
// says.
#include "jit/worker/protocol.h"

#include <gtest/gtest.h>

#include "tests/jit/compilers_for_test.h"

namespace kiln::test {
namespace {

CompileInput full_input() {
  CompileInput input{"op",
                     "op/one",
                     {},
                     arch("gfx90a:sramecc+:xnack-"),
                     {"one.cu", std::string("text with : and \n and \0 in it", 30)},
                     {{"a.h", "first"}, {"b/c.h", ""}, {"a.h", "again"}},
                     {"kiln::f<1>", "g"},
                     {"-DX=a b", "-std=c++17"}};
  input.shape.set("H", std::int64_t{-8});
  input.shape.set("causal", true);
  input.shape.set("flag", false);
  input.shape.set("state", std::string("bf16 with a space"));
  input.shape.set("empty", std::string());
  return input;
}

TEST(Protocol, AnInputComesBackAsTheSameRequest) {
  Record record;
  add_input(record, full_input());
  const auto parsed = Record::parse(record.text());
  ASSERT_TRUE(parsed);
  const auto input = input_of(*parsed);
  ASSERT_TRUE(input) << input.error().message;
  EXPECT_EQ(input->request(), full_input().request());
  EXPECT_EQ(input->shape, full_input().shape);
}

TEST(Protocol, AnInputThatLacksAFieldOrHasABadOneIsRefused) {
  Record whole;
  add_input(whole, full_input());
  for (const char* name : {"op", "implementation", "arch", "source_name", "source_text"}) {
    Record record;
    for (const auto& field : whole.fields()) {
      if (field.name != name) record.add(field.name, field.value);
    }
    EXPECT_FALSE(input_of(record)) << name;
  }
  for (const char* value : {"8", "int", "int x", "int 8 ", "bool 1", "float 1.0", ""}) {
    Record record = whole;
    record.add("shape.Z", value);
    EXPECT_FALSE(input_of(record)) << value;
  }
  Record headerless;
  headerless.add("header_text", "of no header");
  for (const auto& field : whole.fields()) headerless.add(field.name, field.value);
  EXPECT_FALSE(input_of(headerless));
}

TEST(Protocol, SettingsComeBackWithAbsolutePaths) {
  CompilerSettings settings;
  settings.nvrtc_library = "relative/libnvrtc.so";
  settings.comgr_library = "/comgr";
  settings.cuda_folders = {"/cuda", "/other"};
  settings.rocm_folders = {"/rocm"};
  settings.python_prefixes = {"/venv", "/usr"};
  settings.hiprtc_environment.add("HIPRTC_COMPILE_OPTIONS_APPEND", "-g");
  Record record;
  add_settings(record, settings);
  const auto back = settings_of(record);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->nvrtc_library, std::filesystem::absolute("relative/libnvrtc.so"));
  EXPECT_EQ(back->comgr_library, "/comgr");
  EXPECT_EQ(back->hiprtc_library, std::nullopt);
  EXPECT_EQ(back->cuda_folders, settings.cuda_folders);
  EXPECT_EQ(back->rocm_folders, settings.rocm_folders);
  EXPECT_EQ(back->python_prefixes, settings.python_prefixes);
  EXPECT_EQ(back->hiprtc_environment, settings.hiprtc_environment);
}

TEST(Protocol, AnArtifactComesBackWithHowItCameAbout) {
  Artifact artifact;
  artifact.format = CodeFormat::hsaco;
  artifact.code = to_bytes(as_bytes("code"));
  artifact.entries = {{"f", "_Zf", {}}};
  artifact.compiler = "hiprtc";
  artifact.compiler_version = "5.2";
  artifact.note = "not quite as asked";
  artifact.compile_time_ms = 12.5;
  artifact.memory_bytes_peak = 123456789;
  artifact.log = "two\nlines";
  Record record;
  add_artifact(record, artifact);
  const auto back = artifact_of(record);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->encode(), artifact.encode());
  EXPECT_EQ(back->compiler, "hiprtc");
  EXPECT_EQ(back->compiler_version, "5.2");
  EXPECT_EQ(back->note, "not quite as asked");
  EXPECT_EQ(back->compile_time_ms, 12.5);
  EXPECT_EQ(back->memory_bytes_peak, 123456789U);
  EXPECT_EQ(back->log, "two\nlines");
  EXPECT_FALSE(artifact_of({}));
}

TEST(Protocol, ErrorsComeBackAsTheyWere) {
  const Result<void> failed = fail(ErrorCode::compile_failed, "a message", "a\nlog");
  const auto back = status_of(reply_of(failed));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, ErrorCode::compile_failed);
  EXPECT_EQ(back.error().message, "a message");
  EXPECT_EQ(back.error().log, "a\nlog");
  EXPECT_TRUE(status_of(reply_of({})));
  Record odd;
  odd.add("status", "splendid");
  EXPECT_EQ(status_of(odd).error().code, ErrorCode::internal);
}

}  // namespace
}  // namespace kiln::test
