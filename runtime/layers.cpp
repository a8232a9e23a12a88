// SPDX-License-Identifier: Apache-2.0
#include "runtime/layers.h"

#include <fmt/format.h>

#include "cache/bundle_store.h"

namespace kiln {
namespace {

// SQLite's locks on a file belong to the process: opening the writable cache a second time and
// without locks would, on closing, drop those of the store that uses it.
Result<std::unique_ptr<Store>> open_folder(
    const std::filesystem::path& folder,
    const std::optional<std::filesystem::path>& writable_folder) {
  std::error_code none;
  if (writable_folder && std::filesystem::equivalent(folder, *writable_folder, none)) {
    return fail(
        ErrorCode::cache_failed,
        fmt::format("layer '{}' is refused: it is the writable cache itself", folder.string()));
  }
  StoreOptions layer;
  layer.folder = folder;
  layer.access = StoreAccess::layer;
  return Store::open(layer);
}

// Who signed a bundle that runs here must be trusted: unlike a folder's, its bytes came from
// elsewhere.
Result<std::unique_ptr<Store>> open_bundle(const std::filesystem::path& file,
                                           const std::optional<std::filesystem::path>& keys_file) {
  BundleTrust trust;
  if (keys_file) {
    KILN_TRY_ASSIGN(trust.keys, TrustedKeys::read(*keys_file));
  }
  return open_bundle_store(file, trust);
}

Result<std::unique_ptr<Store>> open_layer(const std::filesystem::path& layer,
                                          const Options& options) {
  std::error_code none;
  if (std::filesystem::is_regular_file(layer, none)) {
    return open_bundle(layer, options.trusted_keys_file);
  }
  return open_folder(layer, options.cache_folder);
}

}  // namespace

const std::vector<std::unique_ptr<Store>>& Layers::stores() {
  std::call_once(opened_, [this] { open(); });
  return stores_;
}

const std::vector<Error>& Layers::refused() {
  std::call_once(opened_, [this] { open(); });
  return refused_;
}

void Layers::drop(const Key& key) {
  const std::lock_guard lock(mutex_);
  dropped_.insert(key);
}

bool Layers::is_dropped(const Key& key) const {
  const std::lock_guard lock(mutex_);
  return dropped_.contains(key);
}

void Layers::open() {
  if (options_.cache_policy == CachePolicy::off) return;
  for (const std::filesystem::path& layer : options_.cache_layers) {
    auto opened = open_layer(layer, options_);
    if (opened) {
      stores_.push_back(std::move(*opened));
      continue;
    }
    counting_.add(&Counters::cache_errors);
    log_once(LogLevel::warning, opened.error().message + "; going on without this layer");
    refused_.push_back(std::move(opened).error());
  }
}

}  // namespace kiln
