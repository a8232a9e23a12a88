// SPDX-License-Identifier: Apache-2.0
#include "jit/base/code_check.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>

#include "jit/base/elf_image.h"

namespace kiln {
namespace {

std::uint16_t machine_of(CodeFormat format) {
  switch (format) {
    case CodeFormat::cubin:
      return EM_CUDA;
    case CodeFormat::hsaco:
      return EM_AMDGPU;
    case CodeFormat::shared_object:
      return EM_X86_64;
    case CodeFormat::ptx:
      break;
  }
  return EM_NONE;
}

Answer check_elf(const Artifact& artifact) {
  const auto image = ElfImage::parse(artifact.code);
  if (!image) return Answer::no(image.error().message);
  if (image->machine != machine_of(artifact.format)) {
    return Answer::no(fmt::format("its ELF machine is {} and a {} has {}", image->machine,
                                  name_of(artifact.format), machine_of(artifact.format)));
  }
  for (const EntryPoint& entry : artifact.entries) {
    // The runtime of AMD finds a kernel by its descriptor.
    const std::string symbol =
        entry.symbol +
        (artifact.format == CodeFormat::hsaco && !entry.symbol.ends_with(".kd") ? ".kd" : "");
    if (!image->defines(symbol)) {
      return Answer::no(fmt::format("it does not define its entry point '{}'", symbol));
    }
  }
  return Answer::yes();
}

Answer check_ptx(const Artifact& artifact) {
  std::string_view text = as_text(artifact.code);
  if (text.ends_with('\0')) text.remove_suffix(1);  // drivers take it so
  if (text.find('\0') != std::string_view::npos) return Answer::no("its PTX holds a zero byte");
  for (const std::string_view directive : {".version ", ".target ", ".address_size "}) {
    if (text.find(directive) == std::string_view::npos) {
      return Answer::no(fmt::format("its PTX has no '{}'", directive));
    }
  }
  if (std::count(text.begin(), text.end(), '{') != std::count(text.begin(), text.end(), '}')) {
    return Answer::no("its PTX is cut off: its braces do not match");
  }
  for (const EntryPoint& entry : artifact.entries) {
    if (text.find(fmt::format(".entry {}(", entry.symbol)) == std::string_view::npos) {
      return Answer::no(fmt::format("its PTX has no .entry '{}'", entry.symbol));
    }
  }
  return Answer::yes();
}

}  // namespace

Answer check_code(const Artifact& artifact) {
  if (artifact.entries.empty()) return Answer::no("it has no entry point");
  return artifact.format == CodeFormat::ptx ? check_ptx(artifact) : check_elf(artifact);
}

}  // namespace kiln
