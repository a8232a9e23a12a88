// SPDX-License-Identifier: Apache-2.0
// Kernel: compiled, loaded and ready to launch.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "jit/base/arch.h"
#include "jit/base/artifact.h"
#include "jit/base/export.h"
#include "jit/base/launch.h"

namespace kiln {

// A stream of the caller's: CUstream or hipStream_t. The CPU has one, the null stream, and its
// launches are complete when launch() returns.
struct Stream {
  void* handle = nullptr;
};

// Code loaded by a driver. One per kind of driver.
class KILN_API Module {
 public:
  virtual ~Module() = default;
  // Launches `step.entry`, which takes one parameter: the struct at `params`, `params_bytes` long,
  // copied before this returns. Thread-safe.
  // Errors: driver_failed; invalid_argument for dims that the driver refuses.
  virtual Result<void> launch(const LaunchStep& step, const void* params, std::size_t params_bytes,
                              Stream stream) const = 0;
};

// Immutable and thread-safe. Stays loaded as long as anybody holds it.
class KILN_API Kernel {
 public:
  Kernel(std::string label, Arch arch, Artifact artifact, std::unique_ptr<Module> module)
      : label_(std::move(label)),
        arch_(std::move(arch)),
        artifact_(std::move(artifact)),
        module_(std::move(module)) {}

  const std::string& label() const { return label_; }
  // The arch it was compiled for: the one asked for, or one that it can run.
  const Arch& arch() const { return arch_; }
  const Artifact& artifact() const { return artifact_; }

  // Runs the steps of `plan` in order on `stream`. Errors: as Module::launch.
  Result<void> launch(const LaunchPlan& plan, const void* params, std::size_t params_bytes,
                      Stream stream) const {
    for (const LaunchStep& step : plan) {
      KILN_TRY(module_->launch(step, params, params_bytes, stream));
    }
    return {};
  }

 private:
  std::string label_;
  Arch arch_;
  Artifact artifact_;
  std::unique_ptr<Module> module_;
};

}  // namespace kiln
