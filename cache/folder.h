// SPDX-License-Identifier: Apache-2.0
// The rules for the folder that holds a store. Who can write it can run code as the user who loads
// kernels from it.
#pragma once

#include <filesystem>

#include "cache/store.h"
#include "jit/base/result.h"

namespace kiln {

// The absolute path of a folder that may be used. For read_write it is created, with the parents
// that are missing, as 0700. It must be a directory and no symbolic link, belong to the effective
// user (for reading only, root will do as well) and be writable by nobody else.
// Errors: cache_failed, saying which rule, and what to do.
Result<std::filesystem::path> trusted_folder(const std::filesystem::path& folder,
                                             StoreAccess access);

// The same rules for a file in it; a file that does not exist is fine.
Result<void> check_trusted_file(const std::filesystem::path& file, StoreAccess access);

// Whether this process can make and change files in `folder`: its file system may be read-only.
bool is_writable(const std::filesystem::path& folder);

// network: locks of shared memory and memory maps do not work between machines, or not at all. FUSE
// counts as such, since nothing tells what is behind it.
enum class FileSystemKind { local, network };
FileSystemKind file_system_kind(const std::filesystem::path& folder);
// The same from the `f_type` of statfs().
FileSystemKind kind_of_type(long type);

}  // namespace kiln
