// SPDX-License-Identifier: Apache-2.0
// Tells the owner of a Runtime what happens, whatever their callback does.
#pragma once

#include <exception>
#include <string>

#include "jit/base/log.h"
#include "kiln/event.h"

namespace kiln {

inline void emit(const EventCallback& callback, const Event& event) noexcept {
  if (!callback) return;
  try {
    callback(event);
  } catch (const std::exception& exception) {
    log_once(LogLevel::warning, std::string("Options::on_event threw: ") + exception.what());
  } catch (...) {
    log_once(LogLevel::warning, "Options::on_event threw");
  }
}

}  // namespace kiln
