// SPDX-License-Identifier: Apache-2.0
// The whole dialect layer for kernels of the SIMT kind (NVIDIA, AMD). A kernel that includes only
// what it uses is not recompiled when the rest changes.
#pragma once

#include "kiln/async_copy.h"
#include "kiln/atomic.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fast_math.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/math.h"
#include "kiln/mma.h"
#include "kiln/shared.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
