// SPDX-License-Identifier: Apache-2.0
// A compiler that only takes its time and counts, across processes: for what happens around one.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "jit/base/handle.h"
#include "jit/compiler.h"

namespace kiln::test {

class FakeCompiler final : public Compiler {
 public:
  // `during` runs in each compile, after it is counted.
  FakeCompiler(std::filesystem::path count_file, std::function<void()> during,
               std::string build = "1")
      : count_file_(std::move(count_file)), during_(std::move(during)), build_(std::move(build)) {}

  // One that works for so long.
  static FakeCompiler taking(std::filesystem::path count_file, std::chrono::milliseconds time) {
    return {std::move(count_file), [time] { std::this_thread::sleep_for(time); }};
  }

  // How many compiles have begun, in all processes.
  static std::uintmax_t count(const std::filesystem::path& count_file) {
    std::error_code none;
    const std::uintmax_t size = std::filesystem::file_size(count_file, none);
    return none ? 0 : size;
  }

  std::string_view name() const override { return "fake"; }
  Result<Record> toolchain() override {
    Record record;
    record.add("backend", "fake");
    record.add("build", build_);
    return record;
  }
  Answer can_compile(const Arch&) override { return Answer::yes(); }
  Result<Artifact> compile(const CompileInput& input) override {
    const Fd file(open(count_file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!file || write(file.get(), "x", 1) != 1) return fail(ErrorCode::internal, "cannot count");
    during_();
    Artifact artifact;
    artifact.format = CodeFormat::ptx;
    artifact.code = code_for(input);
    for (const std::string& name : input.name_expressions) {
      artifact.entries.push_back({name, name, {}});
    }
    artifact.compiler = "fake";
    return artifact;
  }
  Result<std::string> emit(const CompileInput&, std::string_view) override {
    return fail(ErrorCode::invalid_argument, "the fake compiler emits nothing");
  }
  Result<Description> describe(std::vector<LibraryAttempt>*) override { return Description{}; }

  // Depends on the request alone.
  static Bytes code_for(const CompileInput& input) {
    Bytes code;
    const std::string seed = input.request().digest().hex();
    while (code.size() < 20'000) {
      const ByteView bytes = as_bytes(seed);
      code.insert(code.end(), bytes.begin(), bytes.end());
    }
    return code;
  }

 private:
  const std::filesystem::path count_file_;
  const std::function<void()> during_;
  const std::string build_;
};

inline CompileInput fake_input(int number) {
  CompileInput input{"fake", "fake/user", {}, *Arch::parse("x86-64-v2"), {}, {}, {}, {}};
  input.shape.set("number", std::int64_t{number});
  input.source = {"fake.cpp", "int fake;\n"};
  input.name_expressions = {"fake"};
  return input;
}

}  // namespace kiln::test
