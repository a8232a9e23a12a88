// SPDX-License-Identifier: Apache-2.0
#include "cache/trusted_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/key_file.h"

namespace kiln {

Result<TrustedKeys> TrustedKeys::read(const std::filesystem::path& file) {
  auto text = read_key_file(file, KeyFileKind::list);
  if (text) return parse(*text, file.string());
  if (text.error().code != ErrorCode::unavailable) return fail(std::move(text).error());
  return parse("", file.string());
}

Result<TrustedKeys> TrustedKeys::parse(std::string_view text, std::string_view where) {
  TrustedKeys keys;
  keys.where_ = where;
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos || line[0] == '#') continue;
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    const auto key = PublicKey::from_text(line.substr(0, end));
    if (!key) {
      return fail(ErrorCode::cache_failed,
                  fmt::format("'{}' line {}: no key; a line is 'ed25519:<64 hex digits>' and may "
                              "go on with a name",
                              where, number));
    }
    std::string_view name = line.substr(end);
    name.remove_prefix(std::min(name.find_first_not_of(" \t\r"), name.size()));
    name = name.substr(0, name.find_last_not_of(" \t\r") + 1);
    keys.add({*key, std::string(name)});
  }
  return keys;
}

Result<bool> TrustedKeys::append(const std::filesystem::path& file, const TrustedKey& key) {
  KILN_TRY_ASSIGN(const TrustedKeys there, read(file));
  if (there.find(key.key)) return false;
  if (key.name.find('\n') != std::string::npos) {
    return fail(ErrorCode::invalid_argument, "the name of a key cannot go over several lines");
  }
  const std::string line =
      fmt::format("{}{}{}\n", key.key.text(), key.name.empty() ? "" : " ", key.name);
  KILN_TRY(append_key_file(file, line));
  return true;
}

const TrustedKey* TrustedKeys::find(const PublicKey& key) const {
  const auto found = std::find_if(keys_.begin(), keys_.end(),
                                  [&](const TrustedKey& trusted) { return trusted.key == key; });
  return found == keys_.end() ? nullptr : &*found;
}

}  // namespace kiln
