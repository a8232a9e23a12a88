// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "jit/base/library_search.h"
#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;

struct Entry {
  std::int32_t flags;
  std::string soname;
  std::string path;
};

constexpr std::int32_t kX86_64 = 0x0303;
constexpr std::int32_t kI386 = 0x0003;

void append(std::string& text, const void* data, std::size_t size) {
  text.append(static_cast<const char*>(data), size);
}

// A cache file as glibc writes it: header, entries, strings; offsets from the header's start.
std::string cache_file(const std::vector<Entry>& entries) {
  constexpr std::uint32_t kHeaderSize = 48;
  constexpr std::uint32_t kEntrySize = 24;
  std::string strings, table;
  std::uint32_t at = kHeaderSize + kEntrySize * static_cast<std::uint32_t>(entries.size());
  for (const Entry& entry : entries) {
    const std::uint32_t key = at;
    const std::uint32_t value = key + static_cast<std::uint32_t>(entry.soname.size()) + 1;
    at = value + static_cast<std::uint32_t>(entry.path.size()) + 1;
    strings += entry.soname + '\0' + entry.path + '\0';
    append(table, &entry.flags, 4);
    append(table, &key, 4);
    append(table, &value, 4);
    table.append(12, '\0');
  }
  std::string file = "glibc-ld.so.cache1.1";
  const auto count = static_cast<std::uint32_t>(entries.size());
  const auto bytes = static_cast<std::uint32_t>(strings.size());
  append(file, &count, 4);
  append(file, &bytes, 4);
  file.append(20, '\0');
  return file + table + strings;
}

TEST(LoaderCache, RealOneKnowsTheCLibrary) {
  const auto found = find_in_loader_cache("libc.so.6");
  if (!fs::exists("/etc/ld.so.cache")) GTEST_SKIP() << "no /etc/ld.so.cache";
  ASSERT_TRUE(found);
  EXPECT_TRUE(fs::exists(*found)) << *found;
}

#if defined(__x86_64__)
TEST(LoaderCache, FindsByExactNameAndMachine) {
  const TempFolder folder;
  const fs::path cache =
      folder.write("cache", cache_file({{kI386, "libx.so.1", "/lib32/libx.so.1"},
                                        {kX86_64, "libx.so.12", "/lib/libx.so.12"},
                                        {kX86_64, "libx.so.1", "/lib/libx.so.1"}}));
  EXPECT_EQ(find_in_loader_cache("libx.so.1", cache), "/lib/libx.so.1");
  EXPECT_EQ(find_in_loader_cache("libx.so.12", cache), "/lib/libx.so.12");
  EXPECT_EQ(find_in_loader_cache("libx.so", cache), std::nullopt);
}

TEST(LoaderCache, AnOlderHeaderMayStandBefore) {
  const TempFolder folder;
  const fs::path cache =
      folder.write("cache", std::string("ld.so-1.7.0\0old entries....", 24) +
                                cache_file({{kX86_64, "libx.so.1", "/lib/libx.so.1"}}));
  EXPECT_EQ(find_in_loader_cache("libx.so.1", cache), "/lib/libx.so.1");
}
#endif

TEST(LoaderCache, DamageIsNotFoundAndDoesNoHarm) {
  const TempFolder folder;
  const std::string good = cache_file({{kX86_64, "libx.so.1", "/lib/libx.so.1"}});
  EXPECT_EQ(find_in_loader_cache("libx.so.1", folder.path() / "absent"), std::nullopt);
  EXPECT_EQ(find_in_loader_cache("libx.so.1", folder.path()), std::nullopt);
  for (std::size_t size = 0; size < 48 + 24; ++size) {
    const fs::path cache = folder.write("cache", good.substr(0, size));
    EXPECT_EQ(find_in_loader_cache("libx.so.1", cache), std::nullopt) << size;
  }
  for (std::size_t at = 0; at < 48 + 24; ++at) {
    std::string bad = good;
    bad[at] = '\xff';
    (void)find_in_loader_cache("libx.so.1", folder.write("cache", bad));
  }
}

}  // namespace
}  // namespace kiln
