// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/jit/llvm_sample.h"

namespace kiln::test {
namespace {

class LlvmBadInput : public Llvm {
 protected:
  Error error_of(const CompileInput& input) {
    const auto artifact = compiler_.compile(input);
    EXPECT_FALSE(artifact);
    Error error = artifact ? Error{} : artifact.error();
    EXPECT_EQ(error.message.find('\n'), std::string::npos) << error.message;
    return error;
  }
};

bool holds(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

TEST_F(LlvmBadInput, AnErrorCarriesClangsWordsAndTheLine) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "\nint bad() { return undeclared; }\n";
  const Error error = error_of(input);
  EXPECT_EQ(error.code, ErrorCode::compile_failed);
  EXPECT_TRUE(holds(error.log, "axpy/vector.cpp:15:20: error: use of undeclared identifier"))
      << error.log;
  EXPECT_TRUE(holds(error.message, "undeclared")) << error.message;
  EXPECT_TRUE(holds(error.message, "axpy/vector x86-64-v2")) << error.message;
}

TEST_F(LlvmBadInput, AnErrorInAHeaderNamesTheHeader) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.headers[0].text += "\nbroken\n";
  EXPECT_TRUE(holds(error_of(input).log, "kiln/vector.h:3:1: error:"));
}

TEST_F(LlvmBadInput, NameExpressionsThatNameNoFunction) {
  const std::pair<const char*, const char*> cases[] = {
      {"kiln::no_such", "name expression 1:1:"},
      {"kiln::axpy", "incompatible initializer"},
      {"1 +", "expected expression"},
      {"", "expected expression"},
      {"3", "incompatible initializer"},
      {"&a_variable", "does not name a function"},
      {"no_body", "has no body"},
      {"chosen(1)", "constant"},
  };
  for (const auto& [expression, words] : cases) {
    CompileInput input = llvm_sample("x86-64-v2");
    input.source.text += "int a_variable; void no_body(); using F = void(); F* chosen(int);\n";
    input.name_expressions = {expression};
    const Error error = error_of(input);
    EXPECT_EQ(error.code, ErrorCode::compile_failed) << expression;
    EXPECT_TRUE(holds(error.message + error.log, words)) << expression << "\n" << error.log;
  }
}

TEST_F(LlvmBadInput, AnUnfinishedSourceIsTheSourcesFault) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "#if 1\n";
  EXPECT_TRUE(holds(error_of(input).log, "axpy/vector.cpp:14:2: error: unterminated conditional"));
}

TEST_F(LlvmBadInput, WrongInlineAssemblyIsAnErrorWithItsLine) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "void bad() { asm volatile(\"frobnicate\"); }\n";
  input.name_expressions = {"bad"};
  const Error error = error_of(input);
  EXPECT_EQ(error.code, ErrorCode::compile_failed);
  EXPECT_TRUE(holds(error.log, "axpy/vector.cpp:14:27: error:")) << error.log;
  EXPECT_TRUE(holds(error.log, "frobnicate")) << error.log;
}

TEST_F(LlvmBadInput, AnUnknownFeatureIsNamed) {
  const Error error = error_of(llvm_sample("x86-64-v3+nonsense"));
  EXPECT_EQ(error.code, ErrorCode::unavailable);
  EXPECT_TRUE(holds(error.message, "'nonsense'")) << error.message;
  const Answer answer = compiler_.can_compile(arch("x86-64-v3+nonsense"));
  EXPECT_FALSE(answer);
  EXPECT_TRUE(holds(answer.reason(), "'nonsense'")) << answer.reason();
}

TEST_F(LlvmBadInput, ABadOption) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.options = {"-std=c++99"};
  const Error error = error_of(input);
  EXPECT_EQ(error.code, ErrorCode::compile_failed);
  EXPECT_TRUE(holds(error.message, "c++99")) << error.message;
}

TEST_F(LlvmBadInput, FilesOfThisMachineAreNotSeen) {
  for (const char* include : {"#include <cmath>\n", "#include <stddef.h>\n",
                              "#include <immintrin.h>\n", "#include \"../../etc/passwd\"\n"}) {
    CompileInput input = llvm_sample("x86-64-v2");
    input.source.text.insert(0, include);
    const Error error = error_of(input);
    EXPECT_EQ(error.code, ErrorCode::compile_failed);
    EXPECT_TRUE(holds(error.log, "file not found")) << error.log;
  }
}

TEST_F(LlvmBadInput, TwoFilesOfOneName) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.headers.push_back({"kiln/vector.h", "other"});
  EXPECT_EQ(error_of(input).code, ErrorCode::invalid_argument);
  input.headers = {{"axpy/vector.cpp", "other"}};
  EXPECT_TRUE(holds(error_of(input).message, "'axpy/vector.cpp'"));
  input.headers = {{"axpy", "a folder already"}};
  EXPECT_EQ(error_of(input).code, ErrorCode::invalid_argument);
  input.headers = {{"/absolute.h", ""}};
  EXPECT_EQ(error_of(input).code, ErrorCode::invalid_argument);
}

TEST_F(LlvmBadInput, WhatNeedsARuntimeLibraryIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"extern \"C\" int foo(int); int f(int x) { return foo(x); }", "'foo'"},
      {"struct S { ~S(); int v; }; S::~S() { v = 0; } static S s; int f(int) { return s.v; }",
       "__cxa_atexit"},
      {"int f(int x) { throw x; }", "exceptions disabled"},
      {"int* f(int x) { return new int(x); }", "'_Znwm'"},
  };
  for (const auto& [source, words] : cases) {
    CompileInput input = llvm_sample("x86-64-v2");
    input.source.text = source;
    input.name_expressions = {"f"};
    const Error error = error_of(input);
    EXPECT_EQ(error.code, ErrorCode::compile_failed);
    EXPECT_TRUE(holds(error.message + error.log, words)) << error.message << error.log;
  }
}

}  // namespace
}  // namespace kiln::test
