// SPDX-License-Identifier: Apache-2.0
// Everything of Kiln's C++ API.
#pragma once

#include "kiln/counters.h"
#include "kiln/driver.h"
#include "kiln/kda_decode.h"
#include "kiln/kernel.h"
#include "kiln/options.h"
#include "kiln/runtime.h"
