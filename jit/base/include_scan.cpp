// SPDX-License-Identifier: Apache-2.0
#include "jit/base/include_scan.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>

namespace kiln {
namespace {

struct LogicalLine {
  int number;
  std::string text;
};

bool in_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// One line per end of line that the preprocessor sees: comments are a space, spliced lines are one,
// and what a raw string holds is left out.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : rest_(text) {}

  bool next(LogicalLine& line) {
    if (rest_.empty()) return false;
    line = {number_, {}};
    while (!rest_.empty()) {
      if (take("\n")) return true;
      if (splice()) continue;
      if (take("//")) {
        skip_line_comment();
      } else if (take("/*")) {
        skip_past("*/");
        line.text += ' ';
      } else if (rest_.front() == '"' && is_raw(line.text)) {
        skip_raw_string();
      } else if (rest_.front() == '"' || is_character(line.text)) {
        take_literal(line.text);
      } else {
        take_run(line.text);
      }
    }
    return true;
  }

 private:
  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    drop(word.size());
    return true;
  }
  void drop(std::size_t count) {
    number_ += static_cast<int>(
        std::count(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(count), '\n'));
    rest_.remove_prefix(count);
  }
  bool splice() { return take("\\\n") || take("\\\r\n") || take("\?\?/\n"); }
  void skip_past(std::string_view end) {
    const std::size_t at = rest_.find(end);
    drop(at == std::string_view::npos ? rest_.size() : at + end.size());
  }
  void skip_line_comment() {
    while (!rest_.empty() && rest_.front() != '\n') {
      if (!splice()) drop(1);
    }
  }
  // R"x(...)x" with R, LR, uR, UR or u8R before it.
  static bool is_raw(std::string_view before) {
    if (!before.ends_with('R')) return false;
    before.remove_suffix(1);
    for (const std::string_view prefix : {"u8", "u", "U", "L"}) {
      if (!before.ends_with(prefix)) continue;
      before.remove_suffix(prefix.size());
      break;
    }
    return before.empty() || !in_word(before.back());
  }
  void skip_raw_string() {
    const std::size_t open = rest_.find('(');
    if (open == std::string_view::npos) return drop(1);
    const std::string end = ")" + std::string(rest_.substr(1, open - 1)) + "\"";
    drop(open + 1);
    skip_past(end);
  }
  // An apostrophe within a number (1'000) opens no character.
  bool is_character(std::string_view before) const {
    return rest_.front() == '\'' && (before.empty() || !in_word(before.back()));
  }
  void take_literal(std::string& text) {
    const char quote = rest_.front();
    text += quote;
    drop(1);
    while (!rest_.empty() && rest_.front() != '\n') {
      if (splice()) continue;
      const char c = rest_.front();
      take_character(text);
      if (c == quote) return;
      if (c == '\\' && !rest_.empty() && rest_.front() != '\n') take_character(text);
    }
  }
  // Up to the next character that may mean something: every look-up of a kernel comes by here.
  void take_run(std::string& text) {
    static constexpr auto kSpecial = [] {
      std::array<bool, 256> table{};
      for (const char c : {'\n', '\\', '/', '"', '\'', '%', '?'}) {
        table[static_cast<unsigned char>(c)] = true;
      }
      return table;
    }();
    std::size_t count = 0;
    while (count < rest_.size() && !kSpecial[static_cast<unsigned char>(rest_[count])]) ++count;
    if (count == 0) return take_character(text);
    text += rest_.substr(0, count);
    rest_.remove_prefix(count);
  }
  void take_character(std::string& text) {
    if (take("\?\?=") || take("%:")) {
      text += '#';
      return;
    }
    text += rest_.front();
    drop(1);
  }

  std::string_view rest_;
  int number_ = 1;
};

std::string_view trim_start(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\v\f"), text.size()));
  return text;
}

std::string_view take_word(std::string_view& text) {
  const auto end = std::find_if_not(text.begin(), text.end(), in_word);
  const std::string_view word = text.substr(0, static_cast<std::size_t>(end - text.begin()));
  text.remove_prefix(word.size());
  return word;
}

void add_operators(const LogicalLine& line, std::string_view directive, std::string_view rest,
                   std::vector<NamedFile>& found) {
  for (const std::string_view operation : {"__has_include", "__has_embed"}) {
    for (std::size_t at = rest.find(operation); at != std::string_view::npos;
         at = rest.find(operation, at + 1)) {
      std::string_view after = rest.substr(at + operation.size());
      if (after.starts_with("_next")) after.remove_prefix(5);
      after = trim_start(after);
      if (after.starts_with('(')) {
        found.push_back(
            {NamedBy::has_include, line.number, std::string(trim_start(after.substr(1)))});
      } else if (directive == "define") {
        found.push_back({NamedBy::has_include, line.number, {}});
      }  // else "defined(__has_include)", which names no file
    }
  }
}

}  // namespace

std::string_view NamedFile::quoted() const {
  if (!text.starts_with('"') && !text.starts_with('<')) return {};
  const std::size_t end = text.find(text.front() == '"' ? '"' : '>', 1);
  if (end == std::string::npos) return {};
  return std::string_view(text).substr(0, end + 1);
}

std::vector<NamedFile> files_named_in(std::string_view text) {
  std::vector<NamedFile> found;
  LineReader reader(text);
  for (LogicalLine line; reader.next(line);) {
    std::string_view rest = trim_start(line.text);
    if (!rest.starts_with('#')) continue;
    rest = trim_start(rest.substr(1));
    const std::string_view directive = take_word(rest);
    if (directive == "include" || directive == "include_next" || directive == "import" ||
        directive == "embed") {
      found.push_back({NamedBy::include, line.number, std::string(trim_start(rest))});
    } else {
      add_operators(line, directive, rest, found);
    }
  }
  return found;
}

}  // namespace kiln
