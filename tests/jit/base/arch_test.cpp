// SPDX-License-Identifier: Apache-2.0
#include "jit/base/arch.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

Arch arch(std::string_view text) {
  auto parsed = Arch::parse(text);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
  return *parsed;
}

std::vector<std::string> names(const std::vector<Arch>& archs) {
  std::vector<std::string> found;
  for (const Arch& one : archs) found.push_back(one.name());
  return found;
}

using Names = std::vector<std::string>;

TEST(Arch, KeepsFullNames) {
  for (const char* name :
       {"sm_75", "sm_80", "sm_90a", "sm_100f", "sm_121a", "gfx908", "gfx90a", "gfx942:xnack-",
        "gfx942:sramecc+:xnack-", "gfx9-4-generic", "x86-64-v2", "x86-64-v4+avx512bf16", "simt",
        "simt:warp64", "simt:checked", "simt:warp64:checked:debug"}) {
    EXPECT_EQ(arch(name).name(), name);
  }
  EXPECT_EQ(arch("simt:warp32").name(), "simt");
  EXPECT_EQ(arch("simt:warp32:debug").name(), "simt:debug");
}

TEST(Arch, Families) {
  EXPECT_EQ(arch("sm_90a").family(), ArchFamily::nvidia);
  EXPECT_EQ(arch("gfx90a").family(), ArchFamily::amd);
  EXPECT_EQ(arch("x86-64-v3").family(), ArchFamily::x86_64);
  EXPECT_EQ(arch("simt").family(), ArchFamily::simt);
}

TEST(Arch, HasTheFeaturesThatItsNameLists) {
  EXPECT_TRUE(arch("simt:warp64:checked").has_feature(":checked"));
  EXPECT_TRUE(arch("simt:warp64:checked").has_feature(":warp64"));
  EXPECT_FALSE(arch("simt:warp64:checked").has_feature(":debug"));
  EXPECT_FALSE(arch("simt").has_feature(":checked"));
}

TEST(Arch, RefusesWhatIsNoArchAndSaysWhatIs) {
  for (const char* name : {"",
                           "sm",
                           "sm_",
                           "sm_9",
                           "sm_9000",
                           "sm_80a",
                           "sm_90f",
                           "sm_90b",
                           "sm_90aa",
                           "gfx",
                           "gfx9",
                           "gfx90A",
                           "gfx942:xnack",
                           "gfx942:xnack-:sramecc+",
                           "gfx../../-generic",
                           "gfx-generic",
                           "x86-64",
                           "x86-64-v1",
                           "x86-64-v5",
                           "x86-64-v3+",
                           "x86-64-v3+a,b",
                           "simt:warp16",
                           "simt:warp32:warp64",
                           "simt:debug:checked",
                           "simt:checked:checked",
                           "simtx",
                           "CPU",
                           "sm_90a "}) {
    const auto parsed = Arch::parse(name);
    ASSERT_FALSE(parsed) << name;
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument) << name;
    EXPECT_NE(parsed.error().message.find(std::string("'") + name + "'"), std::string::npos);
    EXPECT_NE(parsed.error().message.find("accepted: sm_80"), std::string::npos) << name;
  }
}

TEST(Arch, CpuIsTheHostsOwnName) {
  const auto host = Arch::parse("cpu");
  if (!host) GTEST_SKIP() << host.error().message;
  EXPECT_EQ(host->family(), ArchFamily::x86_64);
  EXPECT_EQ(arch(host->name()), *host);
}

TEST(Arch, Parts) {
  const Arch x86 = arch("x86-64-v4+avx512bf16+avx512vnni");
  EXPECT_EQ(x86.base(), "x86-64-v4");
  EXPECT_EQ(x86.features(), (std::vector<std::string_view>{"+avx512bf16", "+avx512vnni"}));
  const Arch amd = arch("gfx942:sramecc+:xnack-");
  EXPECT_EQ(amd.base(), "gfx942");
  EXPECT_EQ(amd.features(), (std::vector<std::string_view>{":sramecc+", ":xnack-"}));
  EXPECT_EQ(arch("sm_120a").sm(), 120);
  EXPECT_EQ(x86.sm(), 0);
}

TEST(Arch, CompatibleBestFirst) {
  EXPECT_EQ(names(arch("sm_90a").compatible()), (Names{"sm_90a", "sm_90"}));
  EXPECT_EQ(names(arch("sm_89").compatible()), (Names{"sm_89", "sm_86", "sm_80"}));
  EXPECT_EQ(names(arch("sm_103a").compatible()),
            (Names{"sm_103a", "sm_103f", "sm_103", "sm_100f", "sm_100"}));
  EXPECT_EQ(names(arch("sm_103").compatible()), (Names{"sm_103", "sm_100"}));
  EXPECT_EQ(names(arch("gfx942:sramecc+:xnack-").compatible()),
            (Names{"gfx942:sramecc+:xnack-", "gfx942:sramecc+", "gfx942"}));
  EXPECT_EQ(names(arch("x86-64-v4+avx512bf16").compatible()),
            (Names{"x86-64-v4+avx512bf16", "x86-64-v4", "x86-64-v3", "x86-64-v2"}));
  EXPECT_EQ(names(arch("x86-64-v3").compatible()), (Names{"x86-64-v3", "x86-64-v2"}));
  EXPECT_EQ(names(arch("simt").compatible()), (Names{"simt"}));
}

TEST(Arch, EmbeddedChipsStandAlone) {
  EXPECT_EQ(names(arch("sm_87").compatible()), (Names{"sm_87"}));
  EXPECT_EQ(names(arch("sm_110").compatible()), (Names{"sm_110"}));
}

TEST(Arch, OtherMajorVersionsAreNotCompatible) {
  for (const Arch& older : arch("sm_90a").compatible()) EXPECT_EQ(older.sm() / 10, 9);
  for (const Arch& older : arch("sm_120").compatible()) EXPECT_EQ(older.sm() / 10, 12);
}

}  // namespace
}  // namespace kiln
