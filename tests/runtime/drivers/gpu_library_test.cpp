// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_library.h"

#include "tests/runtime/drivers/gpu_case.h"

namespace kiln::test {
namespace {

LibraryQuery query_for(const char* soname) {
  LibraryQuery query;
  query.what = "the stub";
  query.sonames = {soname};
  query.how_to_get = "build it";
  return query;
}

TEST(GpuLibraryTest, TakesTheOneThatTheProcessAlreadyUses) {
  const LibraryQuery query = query_for(KILN_STUB_NAMED_SONAME);
  ASSERT_FALSE(find_library(query));  // it is on no path
  ASSERT_TRUE(dlopen(KILN_STUB_NAMED, RTLD_NOW | RTLD_LOCAL)) << dlerror();
  const auto opened = open_gpu_library(query);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->path(), KILN_STUB_NAMED);
}

TEST(GpuLibraryTest, OverrideComesBeforeTheOneInUse) {
  ASSERT_TRUE(dlopen(KILN_STUB_NAMED, RTLD_NOW | RTLD_LOCAL)) << dlerror();
  const StubLibrary other(KILN_STUB_CUDA);
  LibraryQuery query = query_for(KILN_STUB_NAMED_SONAME);
  query.override_path = other.path();
  const auto opened = open_gpu_library(query);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->path(), other.path());
}

}  // namespace
}  // namespace kiln::test
