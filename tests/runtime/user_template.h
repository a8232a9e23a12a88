// SPDX-License-Identifier: Apache-2.0
// A template of a user's own, and a Runtime with a cache of its own to compile it with.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kiln/runtime.h"
#include "templates/device/kiln/cpu_abi.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {

struct AddParams {
  const int* in;
  int* out;
};

// out[i] = in[i] + constant for each work item i.
inline CompileInput add_constant(int constant) {
  CompileInput input{"add_constant", "add_constant/user", {}, *Arch::parse("cpu"), {}, {}, {}, {}};
  input.shape.set("constant", std::int64_t{constant});
  input.source = {"add_constant.cpp", R"(
#include "params.h"
namespace user {
void add(const void* /*host*/, const void* params, long long first, long long last) {
  const Params& p = *static_cast<const Params*>(params);
  for (long long i = first; i < last; ++i) p.out[i] = p.in[i] + CONSTANT;
}
}
)"};
  input.headers = {{"params.h", "struct Params { const int* in; int* out; };\n"}};
  input.name_expressions = {"user::add"};
  input.options = {"-std=c++17", fmt::format("-DCONSTANT={}", constant)};
  return input;
}

inline int run_add_constant(KilnCpuEntry entry, int value) {
  int result = 0;
  const AddParams params{&value, &result};
  entry(nullptr, &params, 0, 1);
  return result;
}

class LlvmRuntime {
 public:
  explicit LlvmRuntime(CachePolicy policy = CachePolicy::read_write) : LlvmRuntime({}, policy) {}
  // Shares the cache folder of `other`.
  LlvmRuntime(std::shared_ptr<TempFolder> folder, CachePolicy policy)
      : folder_(folder ? std::move(folder) : std::make_shared<TempFolder>()) {
    Options options = *Options::from_environment();
    options.cache_folder = folder_->path() / "cache";
    options.cache_policy = policy;
    runtime_ = *Runtime::create(std::move(options));
    for (Compiler* compiler : runtime_->compilers().chain(*Arch::parse("cpu"))) {
      if (const auto toolchain = compiler->toolchain(); !toolchain) {
        why_not_ = toolchain.error().message;
      }
    }
  }

  bool available() const { return why_not_.empty(); }
  const std::string& why_not() const { return why_not_; }
  Runtime& runtime() { return *runtime_; }
  const std::shared_ptr<TempFolder>& folder() const { return folder_; }

 private:
  std::shared_ptr<TempFolder> folder_;
  std::unique_ptr<Runtime> runtime_;
  std::string why_not_;
};

// Tests that call ops on the CPU or the SIMT machine. All of a program share one cache, since they
// ask for few kernels; they are skipped where there is no LLVM.
class LlvmTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!llvm().available()) GTEST_SKIP() << llvm().why_not();
  }
  static LlvmRuntime& llvm() {
    static LlvmRuntime instance;
    return instance;
  }
};

}  // namespace kiln::test
