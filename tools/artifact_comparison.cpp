// SPDX-License-Identifier: Apache-2.0
#include "tools/artifact_comparison.h"

#include <fmt/format.h>

#include <algorithm>

#include "jit/base/elf_image.h"

namespace kiln::cli {
namespace {

// What tools write about themselves; nothing of it is loaded or run.
constexpr std::string_view kStamps[] = {".comment", ".note.nv.tkinfo", ".note.gnu.build-id"};

bool is_stamp(std::string_view section) {
  return std::find(std::begin(kStamps), std::end(kStamps), section) != std::end(kStamps);
}

bool same(const ElfSection& one, const ElfSection& other) {
  return one.name == other.name && one.type == other.type && one.size_bytes == other.size_bytes &&
         std::equal(one.bytes.begin(), one.bytes.end(), other.bytes.begin(), other.bytes.end());
}

void add_part(ArtifactComparison& comparison, std::string part, bool stamp) {
  using Verdict = ArtifactComparison::Verdict;
  const Verdict verdict = stamp ? Verdict::stamped : Verdict::different;
  comparison.verdict = std::max(comparison.verdict, verdict);
  comparison.parts.push_back(std::move(part));
}

void compare_sections(const ElfImage& before, const ElfImage& after,
                      ArtifactComparison& comparison) {
  if (before.machine != after.machine || before.sections.size() != after.sections.size()) {
    add_part(comparison, "the number of ELF sections, or their machine", false);
    return;
  }
  for (std::size_t i = 0; i < before.sections.size(); ++i) {
    const ElfSection& section = before.sections[i];
    if (same(section, after.sections[i])) continue;
    add_part(comparison, fmt::format("section {}", section.name), is_stamp(section.name));
  }
  // Headers and padding belong to no section.
  if (comparison.parts.empty()) add_part(comparison, "the ELF headers", false);
}

}  // namespace

std::string_view name_of(ArtifactComparison::Verdict verdict) {
  switch (verdict) {
    case ArtifactComparison::Verdict::identical:
      return "identical";
    case ArtifactComparison::Verdict::stamped:
      return "stamped";
    case ArtifactComparison::Verdict::different:
      return "different";
  }
  return "";
}

ArtifactComparison compare_artifacts(const Artifact& before, const Artifact& after) {
  ArtifactComparison comparison;
  if (before.format != after.format) add_part(comparison, "the format of the code", false);
  if (before.entries != after.entries) add_part(comparison, "entry points", false);
  if (before.code == after.code) return comparison;
  const auto one = ElfImage::parse(before.code);
  const auto other = ElfImage::parse(after.code);
  if (one && other) {
    compare_sections(*one, *other, comparison);
  } else {
    add_part(comparison, "code that is no ELF file", false);
  }
  return comparison;
}

}  // namespace kiln::cli
