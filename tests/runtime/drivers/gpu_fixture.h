// SPDX-License-Identifier: Apache-2.0
// What holds for both vendors is tested on both.
#pragma once

#include "tests/runtime/drivers/gpu_case.h"

namespace kiln::test {

class GpuTest : public testing::TestWithParam<GpuCase> {
 protected:
  const GpuCase& gpu() const { return GetParam(); }
  Artifact artifact(std::vector<std::string> symbols = {"add_one"}) const {
    return artifact_of(gpu(), std::move(symbols));
  }

  StubLibrary library{GetParam().stub};
  std::unique_ptr<Driver> driver = GetParam().make_driver(library.path());
};

inline std::string case_name(const testing::TestParamInfo<GpuCase>& info) {
  return info.param.name;
}

}  // namespace kiln::test

// NOLINTNEXTLINE: one line a test file
#define KILN_FOR_BOTH_VENDORS(Test)                                                              \
  INSTANTIATE_TEST_SUITE_P(Vendor, Test,                                                         \
                           testing::Values(::kiln::test::cuda_case(), ::kiln::test::hip_case()), \
                           ::kiln::test::case_name)
