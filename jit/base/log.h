// SPDX-License-Identifier: Apache-2.0
// Where Kiln's own messages go. The host decides; the default writes warnings to stderr.
#pragma once

#include <functional>
#include <string_view>

#include "jit/base/export.h"

namespace kiln {

enum class LogLevel { debug, info, warning, off };

// `sink` may be called from any thread. Replaces the sink for the whole process.
using LogSink = std::function<void(LogLevel, std::string_view message)>;
KILN_API void set_log_sink(LogSink sink);
KILN_API void set_log_level(LogLevel least);

void log(LogLevel level, std::string_view message);
// Says each distinct message once in the life of the process.
void log_once(LogLevel level, std::string_view message);

}  // namespace kiln
