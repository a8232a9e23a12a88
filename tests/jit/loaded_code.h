// SPDX-License-Identifier: Apache-2.0
// A shared object in memory, loaded into this process as the CPU driver will.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "jit/base/artifact.h"
#include "jit/base/handle.h"

namespace kiln::test {

class LoadedCode {
 public:
  explicit LoadedCode(const Artifact& artifact) : fd_(memfd_create("kernel", MFD_CLOEXEC)) {
    const auto written = write(fd_.get(), artifact.code.data(), artifact.code.size());
    EXPECT_EQ(written, static_cast<ssize_t>(artifact.code.size()));
    const std::string path = "/proc/self/fd/" + std::to_string(fd_.get());
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle_) ADD_FAILURE() << dlerror();
  }
  ~LoadedCode() {
    if (handle_) dlclose(handle_);
  }
  LoadedCode(const LoadedCode&) = delete;
  LoadedCode& operator=(const LoadedCode&) = delete;

  template <class Function>
  Function* find(const std::string& symbol) const {
    void* address = handle_ ? dlsym(handle_, symbol.c_str()) : nullptr;
    EXPECT_NE(address, nullptr) << symbol;
    return reinterpret_cast<Function*>(address);
  }
  bool has(const std::string& symbol) const { return dlsym(handle_, symbol.c_str()) != nullptr; }

 private:
  Fd fd_;
  void* handle_ = nullptr;
};

}  // namespace kiln::test
