// SPDX-License-Identifier: Apache-2.0
#include "templates/attention_variant_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "templates/kernels/attention/variant_params.h"

namespace kiln {
namespace {

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, "attention variant " + std::move(message));
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool in_word(char c) {
  return is_letter(c) || is_digit(c);
}

bool is_identifier(std::string_view text) {
  return !text.empty() && text.size() <= 64 && is_letter(text[0]) &&
         std::all_of(text.begin(), text.end(), in_word);
}

// What a name must not be: words of C++ that look like a name, and what expressions know already.
constexpr std::string_view kTakenNames[] = {
    "alignas",   "alignof",      "and",         "asm",      "auto",     "bitand",   "bitor",
    "bool",      "break",        "case",        "char",     "class",    "compl",    "const",
    "constexpr", "continue",     "decltype",    "default",  "delete",   "do",       "double",
    "else",      "enum",         "explicit",    "extern",   "false",    "float",    "for",
    "friend",    "goto",         "if",          "inline",   "int",      "long",     "mutable",
    "namespace", "new",          "noexcept",    "not",      "nullptr",  "operator", "or",
    "private",   "protected",    "public",      "register", "return",   "shape",    "short",
    "signed",    "sizeof",       "static",      "struct",   "switch",   "template", "this",
    "throw",     "true",         "try",         "typedef",  "typename", "union",    "unsigned",
    "using",     "variant",      "virtual",     "void",     "volatile", "while",    "xor",
    "logit",     "num_qo_heads", "num_kv_heads"};

// Words by which code would depend on more than its text, or leave the expression.
constexpr std::string_view kRefusedWords[] = {
    "__DATE__", "__TIME__", "__TIMESTAMP__", "asm",      "__asm",         "__asm__",
    "_Pragma",  "__pragma", "__COUNTER__",   "__FILE__", "__builtin_FILE"};

Result<void> check_name(const AttentionVariant& variant, std::string_view what,
                        const std::string& name, std::set<std::string_view>& names) {
  if (!is_identifier(name) || name.find("__") != std::string::npos || name.starts_with("kiln") ||
      name.starts_with("KILN") || (name.starts_with('_'))) {
    return bad(
        fmt::format("'{}': {} '{}' is no name that it can have: letters, digits and single "
                    "_, at most 64, not beginning with _ or kiln",
                    variant.name, what, name));
  }
  const auto is_it = [&](std::string_view other) { return other == name; };
  if (std::any_of(std::begin(kTakenNames), std::end(kTakenNames), is_it) ||
      std::any_of(std::begin(kAttentionVariantPlaces), std::end(kAttentionVariantPlaces), is_it)) {
    return bad(fmt::format("'{}': {} '{}' has a name that expressions know already", variant.name,
                           what, name));
  }
  if (!names.insert(name).second) {
    return bad(fmt::format("'{}': the name '{}' is given twice", variant.name, name));
  }
  return {};
}

Result<void> check_type(const AttentionVariant& variant, const std::string& name,
                        const std::string& type, std::initializer_list<const char*> types) {
  if (std::find(types.begin(), types.end(), type) != types.end()) return {};
  std::string list;
  for (const char* each : types) list += fmt::format("{}{}", list.empty() ? "" : ", ", each);
  return bad(
      fmt::format("'{}': '{}' has type '{}', not one of {}", variant.name, name, type, list));
}

Result<void> check_arguments(const AttentionVariant& variant) {
  if (variant.tensors.size() > kAttentionVariantTensorsMax ||
      variant.scalars.size() > kAttentionVariantScalarsMax) {
    return bad(fmt::format("'{}' has {} tensors and {} scalars; at most {} and {}", variant.name,
                           variant.tensors.size(), variant.scalars.size(),
                           kAttentionVariantTensorsMax, kAttentionVariantScalarsMax));
  }
  std::set<std::string_view> names;
  for (const auto& tensor : variant.tensors) {
    KILN_TRY(check_name(variant, "tensor", tensor.name, names));
    KILN_TRY(check_type(variant, tensor.name, tensor.type, {"f32", "bf16", "f16", "i32", "u8"}));
    if (tensor.written) {
      KILN_TRY(check_type(variant, tensor.name, tensor.type, {"f32", "bf16", "f16"}));
    }
  }
  for (const auto& scalar : variant.scalars) {
    KILN_TRY(check_name(variant, "scalar", scalar.name, names));
    KILN_TRY(check_type(variant, scalar.name, scalar.type, {"f32", "i32"}));
  }
  return {};
}

// Walks one expression, and knows where it is.
class Expression {
 public:
  Expression(const AttentionVariant& variant, const char* which, std::string_view text)
      : variant_(variant), which_(which), text_(text) {}

  Result<void> check() {
    const std::size_t splice = text_.find('\\');  // would hide words, and ends of comments
    if (splice != std::string_view::npos) return wrong(splice, "'\\' is refused");
    bool empty = true;  // but for comments and white space
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (text_.substr(at_).starts_with("//")) {
        skip_to("\n");
      } else if (text_.substr(at_).starts_with("/*")) {
        const std::size_t begin = at_;
        at_ += 2;
        if (!skip_to("*/")) return wrong(begin, "a comment that is not closed");
      } else if (c == ' ' || c == '\t' || c == '\n') {
        ++at_;
      } else {
        empty = false;
        KILN_TRY(check_token(c));
      }
    }
    if (!open_.empty()) return wrong(open_.back(), "a bracket that is not closed");
    if (empty) return wrong(0, "no expression, only white space or comments");
    return {};
  }

 private:
  tl::unexpected<Error> wrong(std::size_t at, std::string_view what) const {
    const std::string_view before = text_.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t newline = before.rfind('\n');
    const std::size_t column = newline == std::string_view::npos ? at + 1 : at - newline;
    return bad(
        fmt::format("'{0}': {0}.{1}:{2}:{3}: {4}; it must be one C++ expression, without "
                    "directives, literals of characters, ; or braces",
                    variant_.name, which_, line, column, what));
  }
  bool skip_to(std::string_view end) {
    const std::size_t found = text_.find(end, at_);
    at_ = found == std::string_view::npos ? text_.size() : found + end.size();
    return found != std::string_view::npos;
  }
  Result<void> check_token(char c) {
    if (in_word(c)) return check_word();
    const std::string_view rest = text_.substr(at_);
    // Directives, in each spelling; what ends an expression.
    for (const std::string_view token :
         {"#", "%:", "??", "\"", "'", ";", "{", "}", "<%", "%>", "`", "@", "$"}) {
      if (rest.starts_with(token)) return wrong(at_, fmt::format("'{}' is refused", token));
    }
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) {
      return wrong(at_, fmt::format("byte 0x{:02x} is refused", static_cast<unsigned char>(c)));
    }
    if (c == '(' || c == '[') open_.push_back(at_);
    if (c == ')' || c == ']') {
      if (open_.empty() || (text_[open_.back()] == '(') != (c == ')')) {
        return wrong(at_, fmt::format("'{}' closes no bracket", c));
      }
      open_.pop_back();
    }
    ++at_;
    return {};
  }
  Result<void> check_word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && in_word(text_[at_])) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    for (const std::string_view refused : kRefusedWords) {
      if (word == refused) {
        return wrong(begin, fmt::format("'{}' would make the code depend on more than its text, "
                                        "which a cached kernel cannot",
                                        word));
      }
    }
    return {};
  }

  const AttentionVariant& variant_;
  const char* which_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::size_t> open_;  // where brackets were opened
};

}  // namespace

Result<void> check_attention_variant(const AttentionVariant& variant) {
  if (!is_identifier(variant.name)) {
    return bad(
        fmt::format("'{}': its name is made of letters, digits and _, at most 64, and does "
                    "not begin with a digit",
                    variant.name));
  }
  KILN_TRY(check_arguments(variant));
  for (const auto& [which, text] :
       {std::pair{"logits", &variant.logits}, std::pair{"mask", &variant.mask},
        std::pair{"sink", &variant.sink}}) {
    if (!text->empty()) KILN_TRY(Expression(variant, which, *text).check());
  }
  if (!variant.softmax && !variant.sink.empty()) {
    return bad(fmt::format("'{}': a sink joins a softmax's sum, and this one has no softmax",
                           variant.name));
  }
  return {};
}

}  // namespace kiln
