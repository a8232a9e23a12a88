// SPDX-License-Identifier: Apache-2.0
#include "runtime/lazy_store.h"

#include "cache/folder.h"

namespace kiln {

Result<Store*> LazyStore::store() {
  std::call_once(opened_, [this] { open(); });
  if (!store_) return fail(error_);
  return store_.get();
}

LeaseFile* LazyStore::leases() {
  std::call_once(opened_, [this] { open(); });
  return leases_.get();
}

void LazyStore::open() {
  if (options_.cache_policy == CachePolicy::off) {
    error_ = {ErrorCode::unavailable, "the disk cache is off (KILN_CACHE_POLICY=off)", {}};
    return;
  }
  if (!options_.cache_folder) {
    error_ = {ErrorCode::unavailable,
              "no folder for the disk cache: set KILN_CACHE_DIR, XDG_CACHE_HOME or HOME",
              {}};
    return;
  }
  StoreOptions store_options;
  store_options.folder = *options_.cache_folder;
  store_options.size_bytes_max = options_.cache_size_bytes_max;
  const bool writes = options_.cache_policy == CachePolicy::read_write;
  store_options.access = writes ? StoreAccess::read_write : StoreAccess::read_only;
  auto opened = Store::open(store_options);
  if (!opened) {
    error_ = std::move(opened).error();
    return;
  }
  store_ = std::move(*opened);
  is_opened_ = true;
  // Where nobody can write there is nothing to lease, and the first put says why.
  if (!writes || !is_writable(*options_.cache_folder)) return;
  if (auto leases = LeaseFile::open(*options_.cache_folder)) {
    leases_ = std::move(*leases);
  } else {
    log_once(LogLevel::warning, leases.error().message);
  }
}

}  // namespace kiln
