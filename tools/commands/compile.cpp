// SPDX-License-Identifier: Apache-2.0
// jitctl compile: one kernel, what it uses of the chip, and its text at each stage.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "tools/command.h"
#include "tools/page.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

constexpr std::size_t kTextColumn = 16;

struct CompileWords {
  RequestWords request;
  std::string emit;
  std::string output;
};

std::string all_sources(const CompileInput& input) {
  std::string text = fmt::format("// options: {}\n// kernels: {}\n", fmt::join(input.options, " "),
                                 fmt::join(input.name_expressions, ", "));
  for (const SourceText& header : input.headers) {
    text += fmt::format("\n// ---- {} ----\n{}", header.name, header.text);
  }
  return text + fmt::format("\n// ---- {} ----\n{}", input.source.name, input.source.text);
}

// The first compiler of the chain that can do the arch and makes `kind`.
Result<std::string> emit_text(const Runtime& runtime, const CompileInput& input,
                              std::string_view kind) {
  std::string reasons;
  ErrorCode code = ErrorCode::unavailable;  // unless a compiler that has the arch lacks `kind`
  for (Compiler* compiler : runtime.compilers().chain(input.arch)) {
    if (const Answer can = compiler->can_compile(input.arch); !can) {
      reasons += (reasons.empty() ? "" : "; ") + can.reason();
      continue;
    }
    auto text = compiler->emit(input, kind);
    if (text || text.error().code != ErrorCode::invalid_argument) return text;
    code = ErrorCode::invalid_argument;
    reasons += (reasons.empty() ? "" : "; ") + text.error().message;
  }
  return fail(code, fmt::format("cannot make {} of {}: {}", kind, input.label(), reasons));
}

Result<void> write_output(const std::string& file, std::string_view text) {
  if (file.empty()) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};
  }
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.close();
  if (stream) return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("cannot write '{}': {}", file, std::strerror(errno)));
}

void print_artifact(const CompileInput& input, const Prepared& prepared) {
  const Artifact& artifact = *prepared.artifact;
  fmt::print(
      "kernel          {}\nkey             {}\nfrom            {}\ncode            {} bytes of "
      "{}\n",
      folded(input.label(), kTextColumn), prepared.key.request.short_hex(), name_of(prepared.tier),
      artifact.code.size(), name_of(artifact.format));
  fmt::print("compiler        {}\n",
             folded(fmt::format("{} {}, {:.0f} ms", artifact.compiler, artifact.compiler_version,
                                artifact.compile_time_ms),
                    kTextColumn));
  if (!artifact.note.empty()) {
    fmt::print("note            {}\n", folded(artifact.note, kTextColumn));
  }
  for (const PassedOver& passed : artifact.passed_over) {
    fmt::print("passed over     {}\n", folded(passed.compiler + ": " + passed.reason, kTextColumn));
  }
  for (const EntryPoint& entry : artifact.entries) {
    fmt::print("entry           {}\n",
               folded(entry.name_expression + " = " + entry.symbol, kTextColumn));
    const Json resources = to_json(entry.resources);
    for (const auto& [name, value] : resources.items()) {
      fmt::print("  {:<22} {}\n", name, value.dump());
    }
  }
}

ExitCode report(Session& session, Runtime& runtime, const CompileInput& input) {
  KILN_CLI_TRY_ASSIGN(const Prepared prepared, session, runtime.prepare(input));
  if (!session.json) print_artifact(input, prepared);
  Json entries = Json::array();
  for (const EntryPoint& entry : prepared.artifact->entries) {
    entries.push_back({{"name_expression", entry.name_expression},
                       {"symbol", entry.symbol},
                       {"resources", to_json(entry.resources)}});
  }
  Json passed_over = Json::array();
  for (const auto& [compiler, reason] : prepared.artifact->passed_over) {
    passed_over.push_back({{"compiler", compiler}, {"reason", reason}});
  }
  return session.finish({{"kernel", input.label()},
                         {"key", prepared.key.request.hex()},
                         {"tier", name_of(prepared.tier)},
                         {"format", name_of(prepared.artifact->format)},
                         {"code_bytes", prepared.artifact->code.size()},
                         {"compiler", prepared.artifact->compiler},
                         {"compiler_version", prepared.artifact->compiler_version},
                         {"note", prepared.artifact->note},
                         {"passed_over", std::move(passed_over)},
                         {"compile_time_ms", prepared.artifact->compile_time_ms},
                         {"entries", std::move(entries)}});
}

Result<std::string> emit(Runtime& runtime, const CompileInput& input, const std::string& kind) {
  if (kind == "source") return all_sources(input);
  if (kind != "code") return emit_text(runtime, input, kind);
  KILN_TRY_ASSIGN(const Prepared prepared, runtime.prepare(input));
  return std::string(as_text(prepared.artifact->code));
}

ExitCode compile(Session& session, const CompileWords& words) {
  KILN_CLI_TRY_ASSIGN(const OpRequest request, session,
                      parse_request(words.request, CallParams::refused));
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  const Shape& shape = request.arguments.shape;
  KILN_CLI_TRY_ASSIGN(const Selection selection, session,
                      runtime->select(*request.op, shape, request.arch));
  KILN_CLI_TRY_ASSIGN(const CompileInput input, session,
                      make_input(*request.op, *selection.implementation, shape, request.arch));
  if (words.emit.empty()) return report(session, *runtime, input);
  if (words.emit == "code" && words.output.empty() && isatty(STDOUT_FILENO) == 1) {
    return session.fail(
        {ErrorCode::invalid_argument, "--emit code writes binary; name a file with -o", {}});
  }
  KILN_CLI_TRY_ASSIGN(const std::string text, session, emit(*runtime, input, words.emit));
  if (const auto written = write_output(words.output, text); !written) {
    return session.fail(written.error());
  }
  if (words.output.empty()) return ExitCode::done;  // the text itself is the output
  return session.finish(
      {{"kernel", input.label()}, {"file", words.output}, {"bytes", text.size()}});
}

}  // namespace

Action add_compile(CLI::App& app, Session& session) {
  auto words = std::make_shared<CompileWords>();
  words->request.add_to(app);
  app.add_option("--emit", words->emit,
                 "source, ptx (sm_*), llvm or asm (gfx*, cpu, x86-64-*), code")
      ->check(CLI::IsMember({"source", "ptx", "llvm", "asm", "code"}));
  app.add_option("-o", words->output, "Write what --emit makes to this file")->needs("--emit");
  return [words, &session] { return compile(session, *words); };
}

}  // namespace kiln::cli
