// SPDX-License-Identifier: Apache-2.0
// The read-only layers below the writable store, opened by the first look-up that gets to them.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "cache/store.h"
#include "kiln/options.h"
#include "runtime/counting.h"

namespace kiln {

// Thread-safe.
class Layers {
 public:
  Layers(const Options& options, Counting& counting) : options_(options), counting_(counting) {}

  // Those that could be opened, in the order of KILN_CACHE_LAYERS. One that cannot is counted,
  // logged once and left out.
  const std::vector<std::unique_ptr<Store>>& stores();
  // Why each other one was left out.
  const std::vector<Error>& refused();

  // A layer cannot be mended: what turned out bad in one is not taken from any again, as long as
  // this process lives. Compiled anew, it is found in the writable store, which is asked first.
  void drop(const Key& key);
  bool is_dropped(const Key& key) const;

 private:
  void open();

  const Options& options_;
  Counting& counting_;
  std::once_flag opened_;
  std::vector<std::unique_ptr<Store>> stores_;
  std::vector<Error> refused_;

  mutable std::mutex mutex_;  // guards dropped_
  std::set<Key> dropped_;
};

}  // namespace kiln
