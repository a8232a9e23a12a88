// SPDX-License-Identifier: Apache-2.0
#include "jit/c_locale.h"

#include <gtest/gtest.h>

#include <langinfo.h>

namespace kiln {
namespace {

TEST(CLocale, IsTheThreadsLocaleWhileItLives) {
  const locale_t other = newlocale(LC_ALL_MASK, "C.UTF-8", nullptr);
  if (!other) GTEST_SKIP() << "this machine has no locale but C";
  const locale_t before = uselocale(other);
  {
    const CLocale c;
    EXPECT_NE(uselocale(nullptr), other);
    EXPECT_STREQ(nl_langinfo_l(CODESET, uselocale(nullptr)), "ANSI_X3.4-1968");
  }
  EXPECT_EQ(uselocale(nullptr), other);
  uselocale(before);
  freelocale(other);
}

}  // namespace
}  // namespace kiln
