// SPDX-License-Identifier: Apache-2.0
// <sys/pidfd.h> as it should be: glibc 2.36 forgets to say that its functions are C.
#pragma once

#include <signal.h>
#include <sys/types.h>

extern "C" {
#include <sys/pidfd.h>
}
