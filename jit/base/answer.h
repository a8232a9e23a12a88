// SPDX-License-Identifier: Apache-2.0
// A yes, perhaps with a note on how, or a no with its reason: what predicates such as can_build and
// can_serve return.
#pragma once

#include <string>
#include <utility>

namespace kiln {

class [[nodiscard]] Answer {
 public:
  // `note` says what a person may want to know of the yes.
  static Answer yes(std::string note = {}) { return Answer({}, std::move(note)); }
  // `reason` completes "cannot serve this because ...".
  static Answer no(std::string reason) { return Answer(std::move(reason), {}); }

  explicit operator bool() const { return reason_.empty(); }
  const std::string& reason() const { return reason_; }
  const std::string& note() const { return note_; }

 private:
  Answer(std::string reason, std::string note)
      : reason_(std::move(reason)), note_(std::move(note)) {}
  std::string reason_;
  std::string note_;
};

}  // namespace kiln
