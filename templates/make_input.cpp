// SPDX-License-Identifier: Apache-2.0
// make_input: what a compiler gets for one implementation, shape and arch.
#include <fmt/format.h>

#include <limits>

#include "templates/attention_variant.h"
#include "templates/registry.h"
#include "templates/sources.h"

namespace kiln {
namespace {

void append_integer(std::string& text, const std::string& name, std::int64_t value) {
  const bool small = value >= std::numeric_limits<std::int32_t>::min() &&
                     value <= std::numeric_limits<std::int32_t>::max();
  text += fmt::format("inline constexpr {} {} = {}{};\n", small ? "int" : "long long", name, value,
                      small ? "" : "LL");
}

// A word is one bool for each choice: `if constexpr (shape::gate_is::softplus)`; and, for what
// only the preprocessor can choose, the macro KILN_SHAPE_gate_softplus.
void append_word(std::string& text, const ParamSpec& spec, const std::string& value) {
  text += fmt::format("#define KILN_SHAPE_{}_{} 1\n", spec.name, value);
  text += fmt::format("namespace {}_is {{\n", spec.name);
  for (const std::string& choice : spec.choices) {
    text += fmt::format("inline constexpr bool {} = {};\n", choice, choice == value);
  }
  text += "}\n";
}

SourceText shape_header(const Op& op, const Shape& shape) {
  std::string text = "#pragma once\nnamespace kiln::shape {\n";
  for (const ParamSpec& spec : op.shape_params) {
    if (spec.is_variant) continue;  // has a header of its own
    if (const auto* word = std::get_if<std::string>(&spec.default_value); word) {
      append_word(text, spec, shape.word(spec.name));
    } else if (std::holds_alternative<bool>(spec.default_value)) {
      text += fmt::format("inline constexpr bool {} = {};\n", spec.name, shape.flag(spec.name));
    } else {
      append_integer(text, spec.name, shape.integer(spec.name));
    }
  }
  text += "}\n";
  return {"kiln/shape.h", std::move(text)};
}

// The dialects that this arch is not stand in the input by their names alone: the sources include
// them under conditions that are false here, and a change of one dialect must not change the keys
// of the others. Were one included all the same, the compile would fail and say so.
std::vector<SourceText> other_dialects(const Arch& arch) {
  struct DialectFile {
    ArchFamily family;
    const char* name;
  };
  constexpr DialectFile kFiles[] = {{ArchFamily::nvidia, "kiln/dialect/cuda.h"},
                                    {ArchFamily::amd, "kiln/dialect/hip.h"},
                                    {ArchFamily::simt, "kiln/dialect/simt.h"},
                                    {ArchFamily::simt, "kiln/dialect/simt_checked.h"}};
  std::vector<SourceText> others;
  if (arch.family() == ArchFamily::x86_64) return others;  // its sources reach no dialect
  for (const DialectFile& file : kFiles) {
    if (file.family == arch.family()) continue;
    others.push_back({file.name, fmt::format("#error \"{} is no part of code for {}\"\n", file.name,
                                             name_of(arch.family()))});
  }
  return others;
}

// gfx9 has wavefronts of 64; gfx10 and later run in their mode of 32.
int warp_size_of(const Arch& arch) {
  const std::string_view base = arch.base();
  if (arch.family() == ArchFamily::amd) {
    return base.starts_with("gfx9") ? 64 : 32;
  }
  return arch.has_feature(":warp64") ? 64 : 32;
}

// The dialect and the numbers of the arch that kernels need; all that kernels know of either.
std::vector<std::string> options_for(const Arch& arch) {
  std::vector<std::string> options = {"-std=c++17"};
  switch (arch.family()) {
    case ArchFamily::nvidia:
      options.push_back("-DKILN_DIALECT_CUDA=1");
      options.push_back(fmt::format("-DKILN_SM={}", arch.sm() * 10));
      break;
    case ArchFamily::amd:
      options.push_back("-DKILN_DIALECT_HIP=1");
      break;
    case ArchFamily::simt:
      options.push_back("-DKILN_DIALECT_SIMT=1");
      options.push_back(arch.has_feature(":checked") ? "-DKILN_CHECKED=1" : "-DKILN_CHECKED=0");
      options.push_back(arch.has_feature(":debug") ? "-DKILN_DEBUG=1" : "-DKILN_DEBUG=0");
      break;
    case ArchFamily::x86_64:
      options.push_back("-DKILN_DIALECT_CPU=1");
      return options;
  }
  options.push_back(fmt::format("-DKILN_WARP_SIZE={}", warp_size_of(arch)));
  return options;
}

}  // namespace

Result<CompileInput> make_input(const Op& op, const Implementation& implementation,
                                const Shape& shape, const Arch& arch) {
  KILN_TRY(check_shape(op, shape));
  const std::optional<std::string_view> source = find_source(implementation.source);
  if (!source) {
    return fail(ErrorCode::internal,
                fmt::format("{}: its source '{}' is not among the embedded files",
                            implementation.name, implementation.source));
  }
  std::vector<SourceText> headers = other_dialects(arch);
  for (const ParamSpec& spec : op.shape_params) {
    if (!spec.is_variant) continue;
    headers.insert(headers.begin(),
                   attention_variant_header(*find_attention_variant(shape.word(spec.name))));
  }
  headers.insert(headers.begin(), shape_header(op, shape));
  KILN_TRY_ASSIGN(std::vector<SourceText> reached, reached_headers(*source, headers));
  headers.insert(headers.end(), std::make_move_iterator(reached.begin()),
                 std::make_move_iterator(reached.end()));
  return CompileInput{.op = op.name,
                      .implementation = implementation.name,
                      .shape = shape,
                      .arch = arch,
                      .source = {implementation.source, std::string(*source)},
                      .headers = std::move(headers),
                      .name_expressions = implementation.name_expressions,
                      .options = options_for(arch)};
}

}  // namespace kiln
