// SPDX-License-Identifier: Apache-2.0
#include "tools/entry_check.h"

#include <fmt/format.h>

#include "jit/base/arch.h"
#include "jit/base/code_check.h"

namespace kiln::cli {
namespace {

bool fits(CodeFormat format, ArchFamily family) {
  switch (family) {
    case ArchFamily::nvidia:
      return format == CodeFormat::cubin || format == CodeFormat::ptx;
    case ArchFamily::amd:
      return format == CodeFormat::hsaco;
    case ArchFamily::x86_64:
    case ArchFamily::simt:
      return format == CodeFormat::shared_object;
  }
  return false;
}

// That the artifact is for the request: its arch, and its entry points in their order.
Answer check_request(const Record& request, const Artifact& artifact) {
  const auto arch = Arch::parse(request.find("arch").value_or(""));
  if (!arch) return Answer::no(arch.error().message);
  if (!fits(artifact.format, arch->family())) {
    return Answer::no(
        fmt::format("its code is {} and its arch {}", name_of(artifact.format), arch->name()));
  }
  std::vector<std::string> asked;
  for (const Record::Field& field : request.fields()) {
    if (field.name == "name_expression") asked.push_back(field.value);
  }
  std::vector<std::string> made;
  for (const EntryPoint& entry : artifact.entries) made.push_back(entry.name_expression);
  if (asked == made) return Answer::yes();
  return Answer::no(fmt::format("its entry points are '{}' and its record asks for '{}'",
                                fmt::join(made, "', '"), fmt::join(asked, "', '")));
}

}  // namespace

Answer check_entry(const Key& key, const StoreEntry& entry) {
  const auto record = KeyRecord::split(entry.record);
  if (!record) return Answer::no(record.error().message);
  if (record->key() != key) return Answer::no("its record is not the one its key was made from");
  const auto artifact = Artifact::decode(entry.payload);
  if (!artifact) return Answer::no(artifact.error().message);
  if (Answer fit = check_request(record->request, *artifact); !fit) return fit;
  return check_code(*artifact);
}

}  // namespace kiln::cli
