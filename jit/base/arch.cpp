// SPDX-License-Identifier: Apache-2.0
#include "jit/base/arch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "jit/base/did_you_mean.h"
#include "jit/base/host_cpu.h"

namespace kiln {
namespace {

constexpr std::string_view kForms =
    "accepted: sm_80, sm_90a, ...; gfx90a, gfx942:sramecc+:xnack-, ...; cpu (this host), "
    "x86-64-v2, x86-64-v3, x86-64-v4; simt, simt:warp64:checked:debug";

// Binaries run on a later minor version of the same major one, between these chips only: embedded
// ones (sm_87, sm_101, sm_110) neither take nor give.
// https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (binary compatibility)
constexpr std::array kDesktopSms = {75, 80, 86, 89, 90, 100, 103, 120, 121};
constexpr int kFirstSmWithArchSpecific = 90;
constexpr int kFirstSmWithFamilySpecific = 100;

// What people may have meant: chips and products by the names that they are sold under.
constexpr std::pair<std::string_view, std::string_view> kProducts[] = {
    {"a100", "sm_80"},        {"ampere", "sm_80"},   {"l4", "sm_89"},        {"l40s", "sm_89"},
    {"ada", "sm_89"},         {"h100", "sm_90a"},    {"h200", "sm_90a"},     {"hopper", "sm_90a"},
    {"blackwell", "sm_100a"}, {"b200", "sm_100a"},   {"mi250", "gfx90a"},    {"mi250x", "gfx90a"},
    {"mi300", "gfx942"},      {"mi300x", "gfx942"},  {"mi325x", "gfx942"},   {"mi350x", "gfx950"},
    {"mi355x", "gfx950"},     {"avx2", "x86-64-v3"}, {"avx512", "x86-64-v4"}};
constexpr std::string_view kNames[] = {
    "cpu",    "simt",   "x86-64-v2", "x86-64-v3", "x86-64-v4", "sm_75",   "sm_80",
    "sm_86",  "sm_89",  "sm_90",     "sm_90a",    "sm_100",    "sm_100a", "sm_120",
    "gfx908", "gfx90a", "gfx942",    "gfx950",    "gfx1030",   "gfx1100", "gfx1201"};

std::string meant(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  for (const auto& [product, name] : kProducts) {
    if (product == lower) return fmt::format(" (did you mean '{}'?)", name);
  }
  return did_you_mean(lower, kNames);
}

tl::unexpected<Error> bad(std::string_view text, std::string_view why) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("arch '{}': {}{}; {}", text, why, meant(text), kForms));
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

int sm_of(std::string_view name) {
  int number = 0;
  if (name.starts_with("sm_")) std::from_chars(name.data() + 3, name.data() + name.size(), number);
  return number;
}

Result<void> check_nvidia(std::string_view text) {
  std::string_view digits = text.substr(3);
  const char suffix = digits.empty() ? '\0' : digits.back();
  const bool specific = suffix == 'a' || suffix == 'f';
  if (specific) digits.remove_suffix(1);
  if (!all_digits(digits) || digits.size() < 2 || digits.size() > 3) {
    return bad(text, "not sm_ and two or three digits");
  }
  const int least = suffix == 'f' ? kFirstSmWithFamilySpecific : kFirstSmWithArchSpecific;
  if (specific && sm_of(text) < least) {
    return bad(text, fmt::format("suffix '{}' exists from sm_{} on", suffix, least));
  }
  return {};
}

// "9-4-generic": the code that several chips share.
bool is_generic_amd(std::string_view processor) {
  constexpr std::string_view kEnd = "-generic";
  if (!processor.ends_with(kEnd)) return false;
  processor.remove_suffix(kEnd.size());
  return !processor.empty() && std::all_of(processor.begin(), processor.end(), [](unsigned char c) {
    return std::isdigit(c) || c == '-';
  });
}

Result<void> check_amd(std::string_view text) {
  std::string_view rest = text.substr(3);
  std::string_view processor = rest.substr(0, rest.find(':'));
  rest.remove_prefix(processor.size());
  const bool generic = is_generic_amd(processor);
  const bool hex = processor.size() >= 3 && processor.size() <= 4 &&
                   std::all_of(processor.begin(), processor.end(), [](unsigned char c) {
                     return std::isxdigit(c) && !std::isupper(c);
                   });
  if (!generic && !hex) return bad(text, "not gfx and three or four hex digits");
  for (const std::string_view feature : {"sramecc", "xnack"}) {
    if (rest.size() > feature.size() + 1 && rest.substr(1).starts_with(feature)) {
      const char sign = rest[feature.size() + 1];
      if (sign != '+' && sign != '-') break;
      rest.remove_prefix(feature.size() + 2);
    }
  }
  if (!rest.empty()) return bad(text, "features are :sramecc+ or -, then :xnack+ or -");
  return {};
}

Result<void> check_x86(std::string_view text) {
  const std::string_view base = text.substr(0, text.find('+'));
  if (base != "x86-64-v2" && base != "x86-64-v3" && base != "x86-64-v4") {
    return bad(text, "levels are v2, v3 and v4");
  }
  std::string_view rest = text.substr(base.size());
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('+', 1), rest.size());
    const bool named =
        end > 1 && std::all_of(rest.begin() + 1, rest.begin() + end, [](auto c) {
          return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
        });
    if (!named) return bad(text, "a feature after '+' has no name");
    rest.remove_prefix(end);
  }
  return {};
}

// The features in their one order, each at most once; :warp32 is the default and left out.
Result<std::string> simt_name(std::string_view text) {
  std::string name = "simt";
  std::string_view rest = text.substr(name.size());
  if (rest.starts_with(":warp32")) rest.remove_prefix(std::string_view(":warp32").size());
  for (const std::string_view feature : {":warp64", ":checked", ":debug"}) {
    if (!rest.starts_with(feature)) continue;
    if (feature == ":warp64" && text.starts_with("simt:warp32")) break;
    name += feature;
    rest.remove_prefix(feature.size());
  }
  if (!rest.empty()) {
    return bad(text, "features are :warp32 or :warp64, then :checked, then :debug");
  }
  return name;
}

}  // namespace

std::string_view name_of(ArchFamily family) {
  switch (family) {
    case ArchFamily::nvidia:
      return "nvidia";
    case ArchFamily::amd:
      return "amd";
    case ArchFamily::x86_64:
      return "x86_64";
    case ArchFamily::simt:
      return "simt";
  }
  return "unknown";
}

Result<Arch> Arch::parse(std::string_view text) {
  if (text == "cpu") {
    KILN_TRY_ASSIGN(std::string name, host_cpu_name());
    return Arch(ArchFamily::x86_64, std::move(name));
  }
  if (text.starts_with("sm_")) {
    KILN_TRY(check_nvidia(text));
    return Arch(ArchFamily::nvidia, std::string(text));
  }
  if (text.starts_with("gfx")) {
    KILN_TRY(check_amd(text));
    return Arch(ArchFamily::amd, std::string(text));
  }
  if (text.starts_with("x86-64")) {
    KILN_TRY(check_x86(text));
    return Arch(ArchFamily::x86_64, std::string(text));
  }
  if (text.starts_with("simt")) {
    KILN_TRY_ASSIGN(std::string name, simt_name(text));
    return Arch(ArchFamily::simt, std::move(name));
  }
  return bad(text, "unknown");
}

std::string_view Arch::base() const {
  return std::string_view(name_).substr(0, name_.find_first_of("+:"));
}

std::vector<std::string_view> Arch::features() const {
  std::vector<std::string_view> found;
  std::string_view rest = std::string_view(name_).substr(base().size());
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(rest.front(), 1), rest.size());
    found.push_back(rest.substr(0, end));
    rest.remove_prefix(end);
  }
  return found;
}

bool Arch::has_feature(std::string_view feature) const {
  const std::vector<std::string_view> all = features();
  return std::find(all.begin(), all.end(), feature) != all.end();
}

int Arch::sm() const {
  return sm_of(name_);
}

// The chips of the same major version before this one, newest first, with the family-specific
// form where there is one and this arch is itself specific.
std::vector<Arch> older_sm(const Arch& arch) {
  std::vector<Arch> older;
  const int number = arch.sm();
  const bool specific = arch.name().back() == 'a' || arch.name().back() == 'f';
  const auto add = [&](std::string name) {
    if (name != arch.name()) older.push_back(Arch(ArchFamily::nvidia, std::move(name)));
  };
  if (specific && number >= kFirstSmWithFamilySpecific) add(fmt::format("sm_{}f", number));
  if (specific) add(fmt::format("sm_{}", number));
  if (std::find(kDesktopSms.begin(), kDesktopSms.end(), number) == kDesktopSms.end()) return older;
  for (auto it = kDesktopSms.rbegin(); it != kDesktopSms.rend(); ++it) {
    if (*it >= number || *it / 10 != number / 10) continue;
    if (specific && *it >= kFirstSmWithFamilySpecific) add(fmt::format("sm_{}f", *it));
    add(fmt::format("sm_{}", *it));
  }
  return older;
}

std::vector<Arch> Arch::compatible() const {
  std::vector<Arch> archs{*this};
  switch (family_) {
    case ArchFamily::nvidia: {
      for (Arch& older : older_sm(*this)) archs.push_back(std::move(older));
      break;
    }
    case ArchFamily::amd: {
      // Code without a feature in its name runs in either mode of it; try dropping the last first.
      std::string name = name_;
      for (auto at = name.rfind(':'); at != std::string::npos; at = name.rfind(':')) {
        name.resize(at);
        archs.push_back(Arch(family_, name));
      }
      break;
    }
    case ArchFamily::x86_64: {
      for (const char* level : {"x86-64-v4", "x86-64-v3", "x86-64-v2"}) {
        if (level != name_ && base() >= level) archs.push_back(Arch(family_, level));
      }
      break;
    }
    case ArchFamily::simt:
      break;
  }
  return archs;
}

}  // namespace kiln
