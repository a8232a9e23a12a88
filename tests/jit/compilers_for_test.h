// SPDX-License-Identifier: Apache-2.0
// The compilers of this machine, and what to do where one is missing.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "jit/compilers.h"

namespace kiln::test {

inline CompilerSettings settings_from_environment() {
  CompilerSettings settings;
  settings.isolation = Isolation::off;  // most tests are about the compilers themselves
  if (const char* path = std::getenv("KILN_NVRTC_LIBRARY")) settings.nvrtc_library = path;
  if (const char* path = std::getenv("KILN_LLVM_LIBRARY")) settings.llvm_plugin = path;
  if (const char* path = std::getenv("KILN_HIPRTC_LIBRARY")) settings.hiprtc_library = path;
  if (const char* path = std::getenv("KILN_COMGR_LIBRARY")) settings.comgr_library = path;
  if (const char* folder = std::getenv("ROCM_PATH")) settings.rocm_folders.emplace_back(folder);
  settings.rocm_folders.emplace_back("/opt/rocm");
  if (const char* folder = std::getenv("CUDA_HOME")) settings.cuda_folders.emplace_back(folder);
  settings.cuda_folders.emplace_back("/usr/local/cuda");
  return settings;
}

inline Arch arch(std::string_view name) {
  return Arch::parse(name).value();
}

// Whether KILN_REQUIRE_COMPILERS, a list with commas, names this compiler.
inline bool is_required(const std::string& name) {
  const char* list = std::getenv("KILN_REQUIRE_COMPILERS");
  return list && ("," + std::string(list) + ",").find("," + name + ",") != std::string::npos;
}

inline Compiler* find_compiler(const std::vector<Compiler*>& chain, std::string_view name) {
  for (Compiler* compiler : chain) {
    if (compiler->name() == name) return compiler;
  }
  return chain.front();
}

// A test of one compiler: skipped with the loader's own reason where it is missing, failed where
// KILN_REQUIRE_COMPILERS says that it must be there.
class CompilerTest : public testing::Test {
 protected:
  // The compiler of that name in the arch's chain, or the first of the chain.
  explicit CompilerTest(std::string_view arch_name, std::string_view compiler_name = {})
      : compilers_(settings_from_environment()),
        compiler_(*find_compiler(compilers_.chain(arch(arch_name)), compiler_name)) {}

  void SetUp() override {
    const auto described = compiler_.describe();
    if (described) return;
    if (is_required(std::string(compiler_.name()))) FAIL() << described.error().message;
    GTEST_SKIP() << described.error().message;
  }

  Compilers compilers_;
  Compiler& compiler_;
};

// An arch as the name of a parameterized test: "gfx90a:sramecc+:xnack-" is gfx90a_sramecc1_xnack0.
inline std::string test_name(std::string name) {
  std::replace(name.begin(), name.end(), ':', '_');
  std::replace(name.begin(), name.end(), '+', '1');
  std::replace(name.begin(), name.end(), '-', '0');
  return name;
}

// The words that an error shows a person, for failure messages.
template <class T>
std::string words_of(const Result<T>& result) {
  return result ? std::string() : result.error().message + "\n" + result.error().log;
}

// Runs `work(i)` for each i below `count` on threads of their own, all at once.
template <class Work>
void on_threads(int count, Work work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace kiln::test
