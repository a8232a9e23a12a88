// SPDX-License-Identifier: Apache-2.0
// What Kiln adds to a cold NVRTC compile: the bare NVRTC call on the same text, Kiln's prepare()
// with an empty cache, and nvcc.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "bench/interleaved.h"
#include "jit/nvrtc_api.h"
#include "kiln/runtime.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace kiln;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

constexpr int kRounds = 11;

// Every implementation for `arch_name`, of the ops in `wanted` if there are any, at its op's
// default shape.
std::vector<CompileInput> kernel_inputs(const char* arch_name,
                                        const std::set<std::string>& wanted) {
  const Arch arch = require(Arch::parse(arch_name));
  std::vector<CompileInput> inputs;
  for (const Op& op : ops()) {
    if (!wanted.empty() && !wanted.contains(std::string(op.name))) continue;
    const Shape shape = require(parse_arguments(op, {})).shape;
    for (const Implementation& implementation : op.implementations) {
      if (!can_build(implementation, shape, arch)) continue;
      inputs.push_back(require(make_input(op, implementation, shape, arch)));
    }
  }
  return inputs;
}

// The least that a program which uses NVRTC does: create, compile, get the cubin.
double bare_nvrtc_ms(const NvrtcApi& api, const CompileInput& input) {
  std::vector<const char*> texts;
  std::vector<const char*> names;
  for (const SourceText& header : input.headers) {
    texts.push_back(header.text.c_str());
    names.push_back(header.name.c_str());
  }
  std::vector<std::string> words = input.options;
  words.push_back("--gpu-architecture=" + input.arch.name());
  words.emplace_back("--no-cache");
  std::vector<const char*> options;
  for (const std::string& word : words) options.push_back(word.c_str());
  const auto start = Clock::now();
  NvrtcProgramHandle program = nullptr;
  api.nvrtcCreateProgram(&program, input.source.text.c_str(), input.source.name.c_str(),
                         static_cast<int>(texts.size()), texts.data(), names.data());
  for (const std::string& expression : input.name_expressions) {
    api.nvrtcAddNameExpression(program, expression.c_str());
  }
  const NvrtcStatus status =
      api.nvrtcCompileProgram(program, static_cast<int>(options.size()), options.data());
  std::size_t size = 0;
  api.nvrtcGetCUBINSize(program, &size);
  std::string cubin(size, '\0');
  api.nvrtcGetCUBIN(program, cubin.data());
  const double time_ms = ms_since(start);
  api.nvrtcDestroyProgram(&program);
  return status == kNvrtcSuccess && size > 0 ? time_ms : std::nan("");
}

// A Runtime whose cache exists. Each repeat asks for a kernel that it does not hold: the same text
// under an option that no text looks at.
class ColdKiln {
 public:
  ColdKiln() {
    Options options = require(Options::from_environment());
    options.cache_folder = folder_.path() / "cache";
    options.cache_policy = CachePolicy::read_write;
    runtime_ = require(Runtime::create(std::move(options)));
    require(runtime_->store());
  }
  double compile_ms(CompileInput input) {
    input.options.push_back(fmt::format("-DKILN_BENCH_REPEAT={}", ++repeat_));
    const auto start = Clock::now();
    const auto prepared = runtime_->prepare(input);
    const double time_ms = ms_since(start);
    const bool kept = prepared && prepared->tier == Tier::compiled && !prepared->store_error;
    return kept ? time_ms : std::nan("");
  }

 private:
  test::TempFolder folder_;
  std::unique_ptr<Runtime> runtime_;
  int repeat_ = 0;
};

double nvcc_ms(const CompileInput& input) {
  const test::TempFolder folder;
  for (const SourceText& header : input.headers) {
    const auto file = folder.path() / header.name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << header.text;
  }
  const auto source = folder.write("kernel.cu", input.source.text);
  std::vector<std::string> words = {"/usr/bin/env", "nvcc",
                                    "-cubin",       "-arch=" + input.arch.name(),
                                    "-I",           folder.path().string(),
                                    "-o",           (folder.path() / "kernel.cubin").string(),
                                    source.string()};
  words.insert(words.end(), input.options.begin(), input.options.end());
  const auto start = Clock::now();
  const auto result = test::run_process(words);
  if (result.exit_code != 0) fmt::print(stderr, "{}\n", result.err);
  return result.exit_code == 0 ? ms_since(start) : std::nan("");
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Format format = bench::format_of(argc, argv);
  std::set<std::string> wanted(argv + 1, argv + argc);
  wanted.erase("--json");
  const std::vector<CompileInput> inputs = kernel_inputs("sm_90a", wanted);
  if (inputs.empty()) {
    fmt::print(stderr, "usage: nvrtc_compile_bench [--json] [OP...]; 'jitctl ops' lists them\n");
    return 2;
  }
  Compilers compilers(require(Options::from_environment()).compilers);
  const auto described = require(compilers.chain(inputs.front().arch).front()->describe());
  const SharedLibrary library = require(SharedLibrary::open(described.libraries.front()));
  const NvrtcApi api = require(NvrtcApi::load(library));
  const bool have_nvcc = test::run_process({"/usr/bin/env", "nvcc", "--version"}).exit_code == 0;
  ColdKiln kiln;
  for (const CompileInput& input : inputs) {
    std::vector<bench::Contestant> contestants = {
        {"bare NVRTC call", [&] { return bare_nvrtc_ms(api, input); }},
        {"Kiln, not in the cache, then stored there", [&] { return kiln.compile_ms(input); }}};
    if (have_nvcc) contestants.push_back({"nvcc -cubin", [&] { return nvcc_ms(input); }});
    bench::print({"cold compile of " + input.label(), "ms",
                  "the first row; the goal is a ratio of at most 1.05"},
                 bench::measure_interleaved(contestants, kRounds), format);
  }
}
