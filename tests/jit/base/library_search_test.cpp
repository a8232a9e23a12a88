// SPDX-License-Identifier: Apache-2.0
#include "jit/base/library_search.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;

LibraryQuery query_for(const std::string& soname) {
  LibraryQuery query;
  query.what = "the test library";
  query.sonames = {soname};
  query.override_variable = "KILN_TEST_LIBRARY";
  query.how_to_get = "install the package kiln-test";
  return query;
}

class LoaderPath {
 public:
  explicit LoaderPath(const std::string& value) { setenv("LD_LIBRARY_PATH", value.c_str(), 1); }
  ~LoaderPath() { unsetenv("LD_LIBRARY_PATH"); }
};

TEST(LibrarySearch, OverrideIsTakenAndNothingElse) {
  const TempFolder folder;
  LibraryQuery query = query_for("libc.so.6");
  query.override_path = folder.write("mine.so", "x");
  const auto found = find_library(query);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->path, fs::canonical(*query.override_path));
  EXPECT_EQ(found->found_by, "KILN_TEST_LIBRARY");

  query.override_path = folder.path() / "absent.so";  // libc.so.6 is there, and must not serve
  std::vector<LibraryAttempt> attempts;
  const auto missing = find_library(query, &attempts);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::unavailable);
  EXPECT_NE(missing.error().message.find("KILN_TEST_LIBRARY names '"), std::string::npos);
  EXPECT_NE(missing.error().message.find("absent.so"), std::string::npos);
  EXPECT_EQ(attempts.size(), 1u);
}

TEST(LibrarySearch, AFolderIsNoLibrary) {
  const TempFolder folder;
  LibraryQuery query = query_for("libc.so.6");
  query.override_path = folder.path();
  EXPECT_FALSE(find_library(query));
}

TEST(LibrarySearch, FindsWhatTheLoaderFinds) {
  const auto found = find_library(query_for("libc.so.6"));
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(fs::is_regular_file(found->path));
  EXPECT_TRUE(found->path.is_absolute());
}

TEST(LibrarySearch, MissingSaysWhereAndHowToGetIt) {
  LibraryQuery query = query_for("libkiln-no-such.so.1");
  query.folders = {"/no/vendor"};
  query.near_folders = {"/no/neighbour"};
  std::vector<LibraryAttempt> attempts;
  const auto missing = find_library(query, &attempts);
  ASSERT_FALSE(missing);
  for (const char* words : {"the test library", "libkiln-no-such.so.1", "/no/vendor",
                            "/no/neighbour", "install the package kiln-test"}) {
    EXPECT_NE(missing.error().message.find(words), std::string::npos) << missing.error().message;
  }
  const auto tried = [&](const std::string& place) {
    return std::any_of(attempts.begin(), attempts.end(),
                       [&](const LibraryAttempt& attempt) { return attempt.place == place; });
  };
  EXPECT_TRUE(tried("/no/vendor"));
  EXPECT_TRUE(tried("/etc/ld.so.cache: libkiln-no-such.so.1"));
}

TEST(LibrarySearch, OrderOfFolders) {
  const TempFolder near, vendor, path;
  const std::string soname = "libkiln-order.so";
  LibraryQuery query = query_for(soname);
  query.near_folders = {near.path()};
  query.folders = {vendor.path()};

  const fs::path in_vendor = vendor.write(soname, "x");
  EXPECT_EQ(find_library(query)->path, fs::canonical(in_vendor));
  const fs::path in_near = near.write(soname, "x");
  EXPECT_EQ(find_library(query)->path, fs::canonical(in_near));
  const fs::path in_path = path.write(soname, "x");
  const LoaderPath loader_path("/nonexistent::" + path.path().string());
  EXPECT_EQ(find_library(query)->path, fs::canonical(in_path));
  EXPECT_EQ(find_library(query)->found_by, "LD_LIBRARY_PATH");
}

// The newest Python first, then the wheels in the order asked for; all after the vendor's folders.
TEST(LibrarySearch, WheelsOfPythonComeLast) {
  const TempFolder prefix, vendor;
  LibraryQuery query = query_for("libkiln-wheel.so.13");
  query.python_prefixes = {"/no/python", prefix.path()};
  query.wheel_folders = {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"};
  query.folders = {vendor.path()};
  std::vector<LibraryAttempt> attempts;
  const auto missing = find_library(query, &attempts);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("Python's wheels"), std::string::npos);
  EXPECT_TRUE(std::any_of(attempts.begin(), attempts.end(), [](const LibraryAttempt& attempt) {
    return attempt.place == "/no/python/lib/python3*/site-packages";
  }));
  const auto add = [&](const std::string& folder) {
    const fs::path place = prefix.path() / "lib" / folder;
    fs::create_directories(place);
    std::ofstream(place / "libkiln-wheel.so.13") << "x";
    return fs::canonical(place / "libkiln-wheel.so.13");
  };
  const fs::path debian = add("python3/dist-packages/nvidia/cu13/lib");
  EXPECT_EQ(find_library(query)->path, debian);
  const fs::path older = add("python3.11/site-packages/nvidia/cuda_nvrtc/lib");
  EXPECT_EQ(find_library(query)->path, older);
  const fs::path newer = add("python3.11/site-packages/nvidia/cu13/lib");
  EXPECT_EQ(find_library(query)->path, newer);
  const fs::path in_vendor = vendor.write("libkiln-wheel.so.13", "x");
  EXPECT_EQ(find_library(query)->path, fs::canonical(in_vendor));
}

TEST(LibrarySearch, BestSonameFirstAndLinksResolved) {
  const TempFolder folder;
  LibraryQuery query = query_for("libx.so.13");
  query.sonames.push_back("libx.so.12");
  query.folders = {folder.path()};
  const fs::path old_one = folder.write("libx.so.12", "old");
  EXPECT_EQ(find_library(query)->path, fs::canonical(old_one));
  const fs::path real = folder.write("libx.so.13.0.48", "new");
  fs::create_symlink("libx.so.13.0.48", folder.path() / "libx.so.13");
  EXPECT_EQ(find_library(query)->path, fs::canonical(real));
  fs::remove(real);  // a dangling link is not there
  EXPECT_EQ(find_library(query)->path, fs::canonical(old_one));
}

}  // namespace
}  // namespace kiln
