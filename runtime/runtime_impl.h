// SPDX-License-Identifier: Apache-2.0
// What a Runtime is made of, for the files that implement it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cache/flight_cache.h"
#include "kiln/runtime.h"
#include "runtime/artifact_source.h"
#include "runtime/background.h"
#include "runtime/calls.h"
#include "runtime/counting.h"
#include "runtime/drivers/drivers.h"
#include "runtime/plan_recorder.h"

namespace kiln {

// Hidden, since a class within an exported one is exported with it.
class __attribute__((visibility("hidden"))) Runtime::Impl {
 public:
  Impl(Runtime& runtime, Options given)
      : options(std::move(given)),
        compilers(compiler_settings(options)),
        drivers(options.drivers),
        source(options, compilers, counting),
        plan(options.record_plan_file),
        kernels({UINT64_MAX, FlightLimits{}.failure_ttl}, [](const Kernel&) { return 1; }),
        calls(runtime),
        background(options.jobs) {}

  static CompilerSettings compiler_settings(const Options& options);

  using KernelPointer = std::shared_ptr<const Kernel>;

  // Loads `prepared`. Code from the disk cache that the driver refuses is dropped and made anew.
  Result<KernelPointer> load(const CompileInput& input, Prepared prepared, int device);
  // A stored kernel for `arch` or one that it can run; else the compiled one for `arch` itself.
  Result<KernelPointer> find_or_compile(const Selection& selection, const Shape& shape,
                                        const Arch& arch, int device);
  // The kernel of that name, made by `make` unless it is there. A launch into a graph that is being
  // captured must find it there.
  Result<KernelPointer> loaded(const std::string& name, const Arch& arch, int device, Stream stream,
                               const std::function<Result<KernelPointer>()>& make);
  static std::string name_of_kernel(const Implementation& implementation, const Shape& shape,
                                    const Arch& arch, int device);

  const Options options;
  mutable Compilers compilers;
  Counting counting;
  Drivers drivers;
  ArtifactSource source;
  PlanRecorder plan;
  FlightCache<std::string, Kernel> kernels;  // by what was asked for, and the device
  Calls calls;
  Background background;  // last: it ends first, and its jobs use all the others
};

}  // namespace kiln
