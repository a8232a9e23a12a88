// SPDX-License-Identifier: Apache-2.0
// SimtObject: a kernel's shared object, loaded, with what it says of itself.
#pragma once

#include <filesystem>
#include <optional>

#include "runtime/drivers/memory_object.h"
#include "templates/device/kiln/simt_abi.h"

namespace kiln {

class SimtObject {
 public:
  // From memory; what was compiled for a debugger from a private temporary file, which a debugger
  // can read as well. Errors: driver_failed, when it is no object of the SIMT machine, is one of
  // another version, or cannot be loaded.
  static Result<SimtObject> load(ByteView code);
  SimtObject(SimtObject&& other) noexcept;
  SimtObject& operator=(SimtObject&&) = delete;
  ~SimtObject();

  const KilnSimtMark& mark() const { return mark_; }
  // Null when there is no such symbol.
  void* find(const std::string& symbol) const;

 private:
  explicit SimtObject(const KilnSimtMark& mark) : mark_(mark) {}
  Result<void> load_from_file(ByteView code);

  KilnSimtMark mark_;
  std::optional<MemoryObject> memory_;
  void* handle_ = nullptr;  // of the file
  std::filesystem::path folder_;
};

}  // namespace kiln
