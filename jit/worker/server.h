// SPDX-License-Identifier: Apache-2.0
// The inside of kiln-worker: answers requests that come over a socket, one after the other.
#pragma once

#include <sys/types.h>

#include <filesystem>

namespace kiln {

// Returns when the peer closed the socket between two requests, or nothing came for a minute; false
// when the peer sent what is no request. Leaves the process as soon as `parent` ends, in the middle
// of a compile too; what libraries left in `folder`, made for this process, goes with it.
bool serve_compiles(int socket, pid_t parent, const std::filesystem::path& folder);

}  // namespace kiln
