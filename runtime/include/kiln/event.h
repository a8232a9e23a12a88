// SPDX-License-Identifier: Apache-2.0
// What a Runtime tells its owner while it works.
#pragma once

#include <functional>
#include <string_view>

#include "jit/base/result.h"

namespace kiln {

enum class EventKind {
  compile_begin,  // a compiler starts; nothing of this comes from a cache
  compile_end,    // it is done; `error` says whether it worked
  fall_back,      // the best implementation's kernel cannot be had: `instead` serves from now on
};

// Valid only during the callback.
struct Event {
  EventKind kind = EventKind::compile_begin;
  std::string_view label;     // "kda_decode/warp_rows H=8 K=128 sm_90a"
  std::string_view compiler;  // "nvrtc"; empty for fall_back
  double time_ms = 0;         // compile_end: how long it took
  const Error* error = nullptr;
  std::string_view instead;  // fall_back: the name of the implementation
};

// Called on the thread that compiles or launches, with no lock of Kiln's held; calls may come from
// several threads at a time. It may call the Runtime, but not for the kernel it is told of. What it
// throws is logged and dropped.
using EventCallback = std::function<void(const Event&)>;

}  // namespace kiln
