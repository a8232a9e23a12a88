// SPDX-License-Identifier: Apache-2.0
// Compiles sources of the native CPU by the real compiler and loads them into the test.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "jit/base/compile_input.h"
#include "jit/base/handle.h"
#include "jit/base/shared_library.h"
#include "templates/device/kiln/cpu_abi.h"
#include "tests/jit/compilers_for_test.h"

namespace kiln::test {

// A test of what the native CPU's compiler makes.
class CpuTest : public CompilerTest {
 protected:
  CpuTest() : CompilerTest("x86-64-v2") {}
};

// Lives until the process ends, and so does its file: the loader knows a library by its path, which
// is the number of that file, and would take a new library under an old number for the old one.
class CpuLibrary {
 public:
  // Compiles each distinct input once per process.
  // Errors: those of the compiler; unavailable where LLVM is not here.
  static Result<const CpuLibrary*> compile(const CompileInput& input);

  KilnCpuEntry entry(const std::string& name_expression) const {
    return entries_.at(name_expression);
  }

 private:
  CpuLibrary(Fd memory, SharedLibrary library)
      : memory_(std::move(memory)), library_(std::move(library)) {}
  static Result<std::unique_ptr<const CpuLibrary>> load(const CompileInput& input);

  Fd memory_;
  SharedLibrary library_;
  std::map<std::string, KilnCpuEntry> entries_;
};

// x86-64-v2, v3 and v4 as far as this host runs them, and the host itself.
std::vector<Arch> host_archs();

// The input for a source under tests/templates/sources/, with the headers that it reaches.
CompileInput test_source_input(const std::string& file, const Arch& arch,
                               std::vector<std::string> name_expressions);

}  // namespace kiln::test
