// SPDX-License-Identifier: Apache-2.0
// What can be said of a stored entry without compiling or loading anything.
#pragma once

#include "cache/store.h"
#include "jit/base/answer.h"

namespace kiln::cli {

// Whether its record is the one that its key was made from, its payload an artifact for that
// request, and its code whole (jit/base/code_check.h).
Answer check_entry(const Key& key, const StoreEntry& entry);

}  // namespace kiln::cli
