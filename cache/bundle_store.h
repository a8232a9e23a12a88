// SPDX-License-Identifier: Apache-2.0
// A bundle as a read-only Store: a layer that is used without importing it.
#pragma once

#include <filesystem>
#include <memory>

#include "cache/bundle.h"
#include "cache/store.h"

namespace kiln {

// Reads the header and the index; a look-up reads the bytes of what it finds and nothing else. What
// is wrong with an entry is answered as rejected. put() and quarantine() fail, hits are not
// counted, and times are 0, since a bundle holds none. The file must belong to the user or root and
// be writable by nobody else. Errors: as Bundle::open(); cache_failed for a file that others could
// change.
Result<std::unique_ptr<Store>> open_bundle_store(const std::filesystem::path& file,
                                                 const BundleTrust& trust);

}  // namespace kiln
