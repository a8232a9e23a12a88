// SPDX-License-Identifier: Apache-2.0
// Trial: one random call of one op, run through the public API and compared with the op's fp64
// reference. `jitctl run`, `jitctl doctor`, the tests and the benches all use it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kiln/runtime.h"
#include "templates/registry.h"

namespace kiln {

// How far one output is from the reference, and how far it may be.
struct OutputError {
  std::string name;        // "out", "state"
  double abs_max = 0;      // largest |got - expected|; infinity for a NaN where none is expected
  double bound_ratio = 0;  // largest |got - expected| / allowed: passes when <= 1
  std::string allowed;     // the rule, for people: "2e-5 of the largest |state|"
  bool passed() const { return bound_ratio <= 1; }
};

class Trial {
 public:
  virtual ~Trial() = default;

  // Launches the op once on the inputs as they are now (an op that updates state goes on from the
  // last call). The first call finds or compiles the kernel. Synchronize through the driver.
  virtual Result<void> launch() = 0;
  // Puts inputs back to the start and poisons outputs.
  virtual Result<void> reset() = 0;
  // Compares the outputs of exactly one launch() after reset() with the fp64 reference.
  virtual Result<std::vector<OutputError>> compare() = 0;

  // The fewest bytes that one call must move, and the floating-point operations it must do.
  virtual double bytes_moved() const = 0;
  virtual double operations() const = 0;
  // What the bandwidth limit of this op is: "read-modify-write" or "read".
  virtual std::string_view traffic() const = 0;
  // Which implementation serves it.
  virtual const Selection& selection() const = 0;
};

// Launches go to `stream`. Errors: those of Runtime::select and of the driver's allocation.
Result<std::unique_ptr<Trial>> make_trial(Runtime& runtime, const Op& op,
                                          const OpArguments& arguments, const Arch& arch,
                                          std::uint64_t seed, Stream stream = {});

}  // namespace kiln
