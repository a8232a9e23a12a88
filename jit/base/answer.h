// SPDX-License-Identifier: Apache-2.0
// A yes, or a no with its reason: what predicates such as can_build and can_serve return.
#pragma once

#include <string>
#include <utility>

namespace kiln {

class [[nodiscard]] Answer {
 public:
  static Answer yes() { return Answer({}); }
  // `reason` completes "cannot serve this because ...".
  static Answer no(std::string reason) { return Answer(std::move(reason)); }

  explicit operator bool() const { return reason_.empty(); }
  const std::string& reason() const { return reason_; }

 private:
  explicit Answer(std::string reason) : reason_(std::move(reason)) {}
  std::string reason_;
};

}  // namespace kiln
