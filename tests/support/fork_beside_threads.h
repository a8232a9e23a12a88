// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

// First in a test that forks while another of its threads allocates. The ThreadSanitizer of GCC 12
// does not hold the locks of its own allocator over fork(): a child that finds one of them taken
// waits for ever in its first allocation. Seen in about one of 800 runs.
#ifdef __SANITIZE_THREAD__
#define KILN_FORKS_BESIDE_THREADS() \
  GTEST_SKIP() << "ThreadSanitizer's allocator may be locked for ever in a child forked now"
#else
#define KILN_FORKS_BESIDE_THREADS() static_cast<void>(0)
#endif
