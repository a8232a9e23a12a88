// SPDX-License-Identifier: Apache-2.0
// A yes, perhaps with a note on how, or a no with its reason: what predicates such as can_build and
// can_serve return.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "jit/base/export.h"

namespace kiln {

class [[nodiscard]] Answer {
 public:
  // `note` says what a person may want to know of the yes.
  static Answer yes(std::string note = {}) { return Answer(true, {}, std::move(note)); }
  // `reason` completes "cannot serve this because ...".
  static Answer no(std::string reason) { return Answer(false, std::move(reason), {}); }

  // For predicates on the launch path, where a no only leads to the next implementation: allocates
  // nothing, and the reason is put together when somebody asks for it. `format` and `word` are
  // literals; each {} of `format` takes one of what follows it.
  static Answer quick_no(const char* format, std::int64_t first = 0, std::int64_t second = 0) {
    Answer answer(false, {}, {});
    answer.format_ = format;
    answer.first_ = first;
    answer.second_ = second;
    return answer;
  }
  static Answer quick_no(const char* format, const char* word, std::int64_t number) {
    Answer answer = quick_no(format, number);
    answer.word_ = word;
    return answer;
  }

  explicit operator bool() const { return is_yes_; }
  // Empty for a yes.
  KILN_API std::string reason() const;
  const std::string& note() const { return note_; }

 private:
  Answer(bool is_yes, std::string reason, std::string note)
      : is_yes_(is_yes), reason_(std::move(reason)), note_(std::move(note)) {}

  bool is_yes_;
  const char* format_ = nullptr;  // of a quick no
  const char* word_ = nullptr;
  std::int64_t first_ = 0;
  std::int64_t second_ = 0;
  std::string reason_;
  std::string note_;
};

}  // namespace kiln
