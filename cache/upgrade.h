// SPDX-License-Identifier: Apache-2.0
// From the schema before to this one.
//
// The file of the version before stays as it is: programs of that version go on using it, and one
// who goes back to them finds it. Its entries are copied once, when the new file is made.
#pragma once

#include <cstdint>
#include <filesystem>

#include "cache/sqlite.h"
#include "jit/base/result.h"

namespace kiln {

// How much is copied at most, the last used first: other processes wait for it.
inline constexpr std::uint64_t kUpgradeBytesMax = std::uint64_t{256} << 20;

// In the write transaction that made the tables of `fresh`: copies the entries and totals of the
// store `previous`. Where there is none, or none that can be used, or one that turns out damaged,
// `fresh` begins with what could be read: the rest is compiled again.
// Errors: those of writing to `fresh`.
Result<void> copy_previous_store(Database& fresh, const std::filesystem::path& previous,
                                 std::uint64_t bytes_max = kUpgradeBytesMax);

}  // namespace kiln
