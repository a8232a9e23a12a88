// SPDX-License-Identifier: Apache-2.0
// The drivers of this build, and which of them runs code for an arch.
#pragma once

#include <memory>
#include <vector>

#include "kiln/driver.h"
#include "kiln/options.h"

namespace kiln {

class Drivers {
 public:
  // Opens nothing.
  explicit Drivers(const DriverSettings& settings);
  // Errors: unavailable, when this build has no driver for the family.
  Result<Driver*> of(ArchFamily family) const;
  std::vector<Driver*> all() const;

 private:
  std::unique_ptr<Driver> cuda_;
  std::unique_ptr<Driver> hip_;
  std::unique_ptr<Driver> cpu_;
  std::unique_ptr<Driver> simt_;
};

}  // namespace kiln
