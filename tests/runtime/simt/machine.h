// SPDX-License-Identifier: Apache-2.0
// Small kernels as text, run on the SIMT machine; and their findings.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kiln/kiln.h"
#include "kiln/simt.h"
#include "templates/sources.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {

// What every test kernel gets.
struct MachineParams {
  void* out;
  const void* in;
  int count;
};

// The line of `text` that has the comment "// HERE", or "// THERE" and so on.
inline int line_of(const std::string& text, const std::string& mark) {
  const std::size_t at = text.find("// " + mark);
  EXPECT_NE(at, std::string::npos) << mark;
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));
}

// A kernel kiln::k with all headers; `body` is what stands between its braces.
inline std::string kernel_text(const std::string& body) {
  return R"(#include "kiln/device.h"
struct Params { void* out; const void* in; int count; };
namespace kiln {
KILN_KERNEL(1024, 1) k(KILN_PARAMS(Params) p) {
  [[maybe_unused]] const Global<int> out(static_cast<int*>(p.out));
  [[maybe_unused]] const Global<const int> in(static_cast<const int*>(p.in));
  [[maybe_unused]] const int t = thread_rank();
)" + body +
         "\n}\n}\n";
}

class Machine {
 public:
  Machine() {
    Options options = *Options::from_environment();
    options.cache_folder = folder_.path();
    runtime_ = *Runtime::create(options);
  }

  // Why there is no compiler here; empty when there is one.
  std::string why_not() const {
    for (Compiler* compiler : runtime_->compilers().chain(*Arch::parse("simt"))) {
      if (const auto found = compiler->toolchain(); !found) return found.error().message;
    }
    return {};
  }

  Result<std::shared_ptr<const Kernel>> kernel(const std::string& text, const std::string& arch) {
    CompileInput input{"test", "test/k", {}, *Arch::parse(arch), {}, {}, {}, {}};
    const bool wide = input.arch.has_feature(":warp64");
    const bool checked = input.arch.has_feature(":checked");
    input.source = {"k.cu", text};
    KILN_TRY_ASSIGN(input.headers, reached_headers(text, {}));
    input.name_expressions = {"kiln::k"};
    input.options = {"-std=c++17", "-DKILN_DIALECT_SIMT=1",
                     wide ? "-DKILN_WARP_SIZE=64" : "-DKILN_WARP_SIZE=32",
                     checked ? "-DKILN_CHECKED=1" : "-DKILN_CHECKED=0",
                     input.arch.has_feature(":debug") ? "-DKILN_DEBUG=1" : "-DKILN_DEBUG=0"};
    return runtime_->kernel(input);
  }

  // Runs `text` once. `out` and `in` become the kernel's tensors; `out` comes back changed.
  Result<void> run(const std::string& text, const LaunchDims& dims, std::vector<int>& out,
                   const std::vector<int>& in = {}, const std::string& arch = "simt:checked") {
    KILN_TRY_ASSIGN(const auto loaded, kernel(text, arch));
    KILN_TRY_ASSIGN(const auto out_memory, driver().allocate(0, out.size() * sizeof(int)));
    KILN_TRY_ASSIGN(const auto in_memory, driver().allocate(0, in.size() * sizeof(int)));
    KILN_TRY(driver().copy_to_device(0, out_memory->data(), out.data(), out.size() * sizeof(int)));
    KILN_TRY(driver().copy_to_device(0, in_memory->data(), in.data(), in.size() * sizeof(int)));
    const MachineParams params{out_memory->data(), in_memory->data(), static_cast<int>(out.size())};
    const auto done = loaded->launch({{0, dims}}, &params, sizeof params, {});
    KILN_TRY(driver().copy_to_host(0, out.data(), out_memory->data(), out.size() * sizeof(int)));
    return done;
  }

  SimtDriver& driver() { return *SimtDriver::of(*runtime_->driver(*Arch::parse("simt"))); }
  Runtime& runtime() { return *runtime_; }

 private:
  TempFolder folder_;
  std::unique_ptr<Runtime> runtime_;
};

inline LaunchDims dims(std::uint32_t blocks, std::uint32_t threads, std::uint32_t shared = 0) {
  LaunchDims dims;
  dims.grid.x = blocks;
  dims.block.x = threads;
  dims.shared_bytes_dynamic = shared;
  return dims;
}

class MachineTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!machine().why_not().empty()) GTEST_SKIP() << machine().why_not();
    machine().driver().set_seed(0);
  }
  // One for all tests, so that a kernel is compiled once.
  static Machine& machine() {
    static Machine instance;
    return instance;
  }

  // That running `text` finds `what` (FindingKind's name) at the lines marked by `marks`.
  static void expect_finding(const std::string& text, const LaunchDims& dims,
                             const std::string& what, const std::vector<std::string>& marks,
                             std::size_t elements = 64, const std::string& arch = "simt:checked") {
    std::vector<int> out(elements, 0);
    const auto done = machine().run(text, dims, out, std::vector<int>(elements, 7), arch);
    ASSERT_FALSE(done) << "found nothing";
    const std::string said = done.error().message + "\n" + done.error().log;
    EXPECT_EQ(done.error().code, ErrorCode::driver_failed) << said;
    EXPECT_NE(said.find("kernel 'kiln::k': " + what + ": "), std::string::npos) << said;
    for (const std::string& mark : marks) {
      const std::string line = "k.cu:" + std::to_string(line_of(text, mark));
      EXPECT_NE(done.error().message.find(line), std::string::npos) << line << "\n" << said;
    }
  }
  // That it finds nothing and gives `expected`.
  static void expect_result(const std::string& text, const LaunchDims& dims,
                            const std::vector<int>& expected, const std::vector<int>& in = {},
                            const std::string& arch = "simt:checked") {
    std::vector<int> out(expected.size(), -1);
    const auto done = machine().run(text, dims, out, in, arch);
    ASSERT_TRUE(done) << done.error().message << "\n" << done.error().log;
    EXPECT_EQ(out, expected);
  }
};

}  // namespace kiln::test
