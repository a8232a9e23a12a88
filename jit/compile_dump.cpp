// SPDX-License-Identifier: Apache-2.0
#include "jit/compile_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace kiln {
namespace {

namespace fs = std::filesystem;

Result<void> write_file(const fs::path& file, std::string_view text) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.close();
  if (stream) return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("KILN_DUMP: cannot write '{}': {}", file.string(), std::strerror(errno)));
}

// A name of the input as a path that stays below `folder`.
fs::path below(const fs::path& folder, const std::string& name) {
  fs::path path = folder;
  for (const fs::path& part : fs::path(name).relative_path()) {
    path /= part == ".." || part == "." || part.empty() ? fs::path("_") : part;
  }
  return path == folder ? folder / "_" : path;
}

std::string folder_name(std::string_view compiler, const CompileInput& input) {
  std::string name = fmt::format("{}.{}.{}.{}", input.implementation, input.arch.name(), compiler,
                                 input.request().digest().short_hex());
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

std::string options_text(std::string_view compiler, const Record& toolchain,
                         const CompileInput& input) {
  std::string text =
      fmt::format("kernel            {}\ncompiler          {}\nsource            {}\n",
                  input.label(), compiler, input.source.name);
  for (const std::string& option : input.options) text += "option            " + option + "\n";
  for (const std::string& expression : input.name_expressions) {
    text += "name expression   " + expression + "\n";
  }
  for (const Record::Field& field : toolchain.fields()) {
    text += fmt::format("toolchain         {}: {}\n", field.name, field.value);
  }
  return text;
}

std::string_view extension_of(CodeFormat format) {
  return format == CodeFormat::shared_object ? "so" : name_of(format);
}

Result<void> write_outcome(const fs::path& folder, const Result<Artifact>& outcome) {
  if (!outcome) {
    KILN_TRY(write_file(folder / "result.txt", outcome.error().message + "\n"));
    return write_file(folder / "log.txt", outcome.error().log);
  }
  std::string text =
      fmt::format("ok: {} bytes of {} by {} {}\n", outcome->code.size(), name_of(outcome->format),
                  outcome->compiler, outcome->compiler_version);
  if (!outcome->note.empty()) text += outcome->note + "\n";
  KILN_TRY(write_file(folder / "result.txt", text));
  KILN_TRY(write_file(folder / "log.txt", outcome->log));
  return write_file(folder / fmt::format("code.{}", extension_of(outcome->format)),
                    as_text(outcome->code));
}

}  // namespace

Result<fs::path> dump_compile(const fs::path& folder, std::string_view compiler,
                              const Record& toolchain, const CompileInput& input,
                              const Result<Artifact>& outcome) {
  const fs::path own = folder / folder_name(compiler, input);
  KILN_TRY(write_file(below(own / "source", input.source.name), input.source.text));
  for (const SourceText& header : input.headers) {
    KILN_TRY(write_file(below(own / "source", header.name), header.text));
  }
  KILN_TRY(write_file(own / "options.txt", options_text(compiler, toolchain, input)));
  KILN_TRY(write_outcome(own, outcome));
  return own;
}

}  // namespace kiln
