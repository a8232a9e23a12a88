// SPDX-License-Identifier: Apache-2.0
// Does one thing in a process of its own and prints what a test wants to know:
//   start    creates the compilers and asks for their toolchains; prints the mapped files
//   llvm     as start, then compiles for x86-64-v2
//   nvrtc    as start, then compiles for sm_80
//   hiprtc   as start, then compiles for gfx90a, with and without success
//   digest   prints the digest of what LLVM makes
//   hiprtc_digest  prints the digest of what hipRTC makes
//   hiprtc_for ARCH  describes hipRTC and compiles by it; prints what it says
//   signals  prints each signal whose handler an LLVM compile changed
//   fatal    makes lld fail for good, then compiles again; prints the two messages
#include <signal.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <set>

#include "jit/base/digest.h"
#include "tests/jit/gpu_sample.h"
#include "tests/jit/llvm_sample.h"

namespace kiln::test {
namespace {

CompileInput nvrtc_sample() {
  return {"f", "f/g", {}, arch("sm_80"), {"f.cu", "__global__ void f() {}"}, {}, {"f"}, {}};
}

void print_mapped_files() {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> files;
  for (std::string line; std::getline(maps, line);) {
    if (const auto at = line.find('/'); at != std::string::npos) files.insert(line.substr(at));
  }
  for (const std::string& file : files) std::cout << file << '\n';
}

int compile(Compilers& compilers, const CompileInput& input) {
  const auto artifact = compilers.chain(input.arch).front()->compile(input);
  if (!artifact) std::cerr << words_of(artifact);
  return artifact ? 0 : 1;
}

using Handlers = std::vector<struct sigaction>;

Handlers signal_handlers() {
  Handlers handlers(NSIG);
  for (int signal = 1; signal < NSIG; ++signal) {
    sigaction(signal, nullptr, &handlers[static_cast<std::size_t>(signal)]);
  }
  return handlers;
}

int print_changed_signals(Compilers& compilers) {
  const Handlers before = signal_handlers();
  const int failed = compile(compilers, llvm_sample("x86-64-v2"));
  const Handlers after = signal_handlers();
  for (std::size_t signal = 1; signal < before.size(); ++signal) {
    if (before[signal].sa_handler != after[signal].sa_handler) std::cout << signal << '\n';
  }
  return failed;
}

int compile_well_and_badly(Compilers& compilers, CompileInput input) {
  const int failed = compile(compilers, input);
  input.source.text += "__global__ void bad() { undeclared = 1; }";
  return compile(compilers, input) == 0 ? 1 : failed;
}

int print_digest(Compilers& compilers, const CompileInput& input) {
  const auto artifact = compilers.chain(input.arch).front()->compile(input);
  if (!artifact) return 1;
  std::cout << Digest::of(artifact->encode()).hex() << '\n';
  return 0;
}

int print_fatal(Compilers& compilers) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "asm(\".section .t,\\\"a\\\",@18\\n.long 1\\n\");\n";
  compile(compilers, input);
  compile(compilers, llvm_sample("x86-64-v2"));
  std::cout << "alive\n";
  return 0;
}

int print_hiprtc(Compilers& compilers, const std::string& arch_name) {
  Compiler& compiler = *compilers.chain(arch("gfx90a")).front();
  const auto described = compiler.describe();
  if (!described) {
    std::cout << "unavailable: " << described.error().message << '\n';
    return 0;
  }
  std::cout << "version: " << described->version << "\narchs:";
  for (const std::string& name : described->archs) std::cout << ' ' << name;
  for (const std::string& library : described->libraries) std::cout << "\nlibrary: " << library;
  CompileInput input = gpu_sample(arch_name);
  input.name_expressions = {"plain"};
  const auto artifact = compiler.compile(input);
  std::cout << "\nartifact: " << (artifact ? artifact->compiler_version : words_of(artifact));
  if (artifact) std::cout << " registers " << artifact->entries[0].resources.registers.value_or(-1);
  std::cout << '\n';
  return 0;
}

int run(const std::string& what, const std::string& argument) {
  Compilers compilers(settings_from_environment());
  for (Compiler* compiler : compilers.all()) (void)compiler->toolchain();
  if (what == "digest") return print_digest(compilers, llvm_sample("x86-64-v3"));
  if (what == "hiprtc_digest") return print_digest(compilers, gpu_sample("gfx90a"));
  if (what == "hiprtc_for") return print_hiprtc(compilers, argument);
  if (what == "signals") return print_changed_signals(compilers);
  if (what == "fatal") return print_fatal(compilers);
  int failed = 0;
  if (what == "llvm") failed = compile(compilers, llvm_sample("x86-64-v2"));
  if (what == "hiprtc") failed = compile_well_and_badly(compilers, gpu_sample("gfx90a"));
  if (what == "nvrtc") failed = compile(compilers, nvrtc_sample());
  print_mapped_files();
  return failed;
}

}  // namespace
}  // namespace kiln::test

int main(int argc, char** argv) {
  return argc == 2 || argc == 3 ? kiln::test::run(argv[1], argc == 3 ? argv[2] : "") : 2;
}
