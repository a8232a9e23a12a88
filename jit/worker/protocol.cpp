// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/protocol.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr int kProtocolVersion = 1;

constexpr std::pair<Ask, std::string_view> kAsks[] = {
    {Ask::start, "start"},     {Ask::check, "check"}, {Ask::can_compile, "can_compile"},
    {Ask::compile, "compile"}, {Ask::emit, "emit"},   {Ask::describe, "describe"}};

constexpr std::array kErrorCodes = {
    ErrorCode::invalid_argument, ErrorCode::unavailable,  ErrorCode::compile_failed,
    ErrorCode::cache_miss,       ErrorCode::cache_failed, ErrorCode::driver_failed,
    ErrorCode::out_of_memory,    ErrorCode::cancelled,    ErrorCode::internal};

struct PathField {
  const char* name;
  std::optional<fs::path> CompilerSettings::*value;
};
constexpr PathField kPaths[] = {
    {"nvrtc_library", &CompilerSettings::nvrtc_library},
    {"llvm_plugin", &CompilerSettings::llvm_plugin},
    {"hiprtc_library", &CompilerSettings::hiprtc_library},
    {"comgr_library", &CompilerSettings::comgr_library},
};

tl::unexpected<Error> bad_field(std::string_view name, std::string_view value) {
  return fail(ErrorCode::internal, fmt::format("message: {}='{}' is not one", name, value));
}

Result<std::string> required(const Record& record, std::string_view name) {
  if (const auto value = record.find(name)) return std::string(*value);
  return fail(ErrorCode::internal, fmt::format("message: it lacks {}", name));
}

template <class Number>
Result<Number> number_of(std::string_view name, std::string_view text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || rest != end || text.empty()) return bad_field(name, text);
  return number;
}

// The typed text of Shape::record(): "int 8", "bool true", "word bf16".
Result<ShapeValue> shape_value(const Record::Field& field) {
  const std::string_view text = field.value;
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return bad_field(field.name, text);
  const std::string_view type = text.substr(0, space);
  const std::string_view value = text.substr(space + 1);
  if (type == "word") return ShapeValue(std::string(value));
  if (type == "bool" && (value == "true" || value == "false")) return ShapeValue(value == "true");
  if (type != "int") return bad_field(field.name, text);
  KILN_TRY_ASSIGN(const auto number, number_of<std::int64_t>(field.name, value));
  return ShapeValue(number);
}

std::string absolute_text(const fs::path& path) {
  std::error_code error;
  const fs::path full = fs::absolute(path, error);
  return (error ? path : full).string();
}

}  // namespace

std::string_view name_of(Ask ask) {
  for (const auto& [value, name] : kAsks) {
    if (value == ask) return name;
  }
  return "unknown";
}

std::optional<Ask> ask_of(const Record& request) {
  const auto word = request.find("ask");
  for (const auto& [value, name] : kAsks) {
    if (word == name) return value;
  }
  return std::nullopt;
}

std::string protocol() {
  return fmt::format("{} entry format {} launch abi {}", kProtocolVersion, kEntryFormatVersion,
                     kLaunchAbiVersion);
}

void add_settings(Record& record, const CompilerSettings& settings) {
  for (const PathField& path : kPaths) {
    if (const auto& value = settings.*path.value) record.add(path.name, absolute_text(*value));
  }
  for (const fs::path& folder : settings.cuda_folders)
    record.add("cuda_folder", absolute_text(folder));
  for (const fs::path& folder : settings.rocm_folders)
    record.add("rocm_folder", absolute_text(folder));
  for (const fs::path& folder : settings.python_prefixes)
    record.add("python_prefix", absolute_text(folder));
  record.add_all("nvrtc_environment", settings.nvrtc_environment);
  record.add_all("hiprtc_environment", settings.hiprtc_environment);
}

Result<CompilerSettings> settings_of(const Record& record) {
  CompilerSettings settings;
  for (const PathField& path : kPaths) {
    if (const auto value = record.find(path.name)) settings.*path.value = fs::path(*value);
  }
  constexpr std::pair<std::string_view, Record CompilerSettings::*> kEnvironments[] = {
      {"nvrtc_environment.", &CompilerSettings::nvrtc_environment},
      {"hiprtc_environment.", &CompilerSettings::hiprtc_environment}};
  for (const Record::Field& field : record.fields()) {
    if (field.name == "cuda_folder") settings.cuda_folders.emplace_back(field.value);
    if (field.name == "rocm_folder") settings.rocm_folders.emplace_back(field.value);
    if (field.name == "python_prefix") settings.python_prefixes.emplace_back(field.value);
    for (const auto& [prefix, member] : kEnvironments) {
      if (!field.name.starts_with(prefix) || field.name.size() == prefix.size()) continue;
      (settings.*member).add(field.name.substr(prefix.size()), field.value);
    }
  }
  return settings;
}

void add_input(Record& record, const CompileInput& input) {
  record.add("op", input.op);
  record.add("implementation", input.implementation);
  record.add_all("shape", input.shape.record());
  record.add("arch", input.arch.name());
  record.add("source_name", input.source.name);
  record.add("source_text", input.source.text);
  for (const SourceText& header : input.headers) {
    record.add("header_name", header.name);
    record.add("header_text", header.text);
  }
  for (const std::string& expression : input.name_expressions) {
    record.add("name_expression", expression);
  }
  for (const std::string& option : input.options) record.add("option", option);
}

Result<CompileInput> input_of(const Record& record) {
  constexpr std::string_view kShape = "shape.";
  KILN_TRY_ASSIGN(const std::string arch_name, required(record, "arch"));
  KILN_TRY_ASSIGN(Arch arch, Arch::parse(arch_name));
  CompileInput input{{}, {}, {}, std::move(arch), {}, {}, {}, {}};
  KILN_TRY_ASSIGN(input.op, required(record, "op"));
  KILN_TRY_ASSIGN(input.implementation, required(record, "implementation"));
  KILN_TRY_ASSIGN(input.source.name, required(record, "source_name"));
  KILN_TRY_ASSIGN(input.source.text, required(record, "source_text"));
  for (const Record::Field& field : record.fields()) {
    if (field.name.starts_with(kShape)) {
      KILN_TRY_ASSIGN(ShapeValue value, shape_value(field));
      input.shape.set(field.name.substr(kShape.size()), std::move(value));
    }
    if (field.name == "header_name") input.headers.push_back({field.value, {}});
    if (field.name == "header_text") {
      if (input.headers.empty()) return bad_field(field.name, "without a name");
      input.headers.back().text = field.value;
    }
    if (field.name == "name_expression") input.name_expressions.push_back(field.value);
    if (field.name == "option") input.options.push_back(field.value);
  }
  return input;
}

void add_artifact(Record& record, const Artifact& artifact) {
  record.add("compiler", artifact.compiler);
  record.add("compiler_version", artifact.compiler_version);
  record.add("note", artifact.note);
  record.add("compile_time_ms", fmt::format("{}", artifact.compile_time_ms));
  record.add("memory_bytes_peak", static_cast<std::int64_t>(artifact.memory_bytes_peak));
  record.add("log", artifact.log);
  record.add("artifact", as_text(artifact.encode()));
}

Result<Artifact> artifact_of(const Record& record) {
  KILN_TRY_ASSIGN(const std::string encoded, required(record, "artifact"));
  KILN_TRY_ASSIGN(Artifact artifact, Artifact::decode(as_bytes(encoded)));
  KILN_TRY_ASSIGN(artifact.compiler, required(record, "compiler"));
  KILN_TRY_ASSIGN(artifact.compiler_version, required(record, "compiler_version"));
  KILN_TRY_ASSIGN(artifact.note, required(record, "note"));
  KILN_TRY_ASSIGN(artifact.log, required(record, "log"));
  KILN_TRY_ASSIGN(const std::string time, required(record, "compile_time_ms"));
  KILN_TRY_ASSIGN(artifact.compile_time_ms, number_of<double>("compile_time_ms", time));
  KILN_TRY_ASSIGN(const std::string peak, required(record, "memory_bytes_peak"));
  KILN_TRY_ASSIGN(artifact.memory_bytes_peak, number_of<std::uint64_t>("memory_bytes_peak", peak));
  return artifact;
}

void add_description(Record& record, const Compiler::Description& description) {
  record.add("version", description.version);
  record.add("found_by", description.found_by);
  for (const std::string& library : description.libraries) record.add("library", library);
  for (const LibraryAttempt& attempt : description.attempts) {
    record.add("attempt_place", attempt.place);
    record.add("attempt_outcome", attempt.outcome);
  }
  for (const std::string& arch : description.archs) record.add("arch", arch);
  for (const std::string& limit : description.limitations) record.add("limitation", limit);
}

Compiler::Description description_of(const Record& record) {
  Compiler::Description description;
  for (const auto& [name, value] : record.fields()) {
    if (name == "version") description.version = value;
    if (name == "found_by") description.found_by = value;
    if (name == "library") description.libraries.push_back(value);
    if (name == "attempt_place") description.attempts.push_back({value, {}});
    if (name == "attempt_outcome" && !description.attempts.empty()) {
      description.attempts.back().outcome = value;
    }
    if (name == "arch") description.archs.push_back(value);
    if (name == "limitation") description.limitations.push_back(value);
  }
  return description;
}

Record reply_of(const Result<void>& done) {
  Record reply;
  reply.add("status", done ? "ok" : name_of(done.error().code));
  if (done) return reply;
  reply.add("message", done.error().message);
  reply.add("log", done.error().log);
  return reply;
}

Result<void> status_of(const Record& reply) {
  const std::string_view status = reply.find("status").value_or("");
  if (status == "ok") return {};
  for (const ErrorCode code : kErrorCodes) {
    if (status != name_of(code)) continue;
    KILN_TRY_ASSIGN(std::string message, required(reply, "message"));
    return fail(code, std::move(message), std::string(reply.find("log").value_or("")));
  }
  return bad_field("status", status);
}

}  // namespace kiln
