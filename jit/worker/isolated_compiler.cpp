// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/isolated_compiler.h"

#include <fmt/format.h>

#include "jit/base/log.h"
#include "jit/worker/protocol.h"

namespace kiln {
namespace {

std::string subject_of(const Arch& arch) {
  return "arch " + arch.name();
}

std::string subject_of(const CompileInput& input) {
  return "request " + input.request().digest().hex();
}

// Nothing in it but what every arch must be able to do.
CompileInput probe_for(const Arch& arch) {
  return {"probe", "probe/empty", {}, arch, {"probe.cu", "extern \"C\" __global__ void f() {}"},
          {},      {"f"},         {}};
}

// The worker is to blame, so the compiler itself may be asked in this process.
bool is_the_workers(const WorkerFailure& failure) {
  return failure.fault == WorkerFault::not_started || failure.fault == WorkerFault::broken;
}

}  // namespace

IsolatedCompiler::IsolatedCompiler(std::unique_ptr<Compiler> inner, Traits traits,
                                   std::shared_ptr<WorkerPool> pool,
                                   std::shared_ptr<CrashMemory> crashes)
    : inner_(std::move(inner)),
      traits_(std::move(traits)),
      pool_(std::move(pool)),
      memory_(std::move(crashes)) {}

IsolatedCompiler::~IsolatedCompiler() = default;

Record IsolatedCompiler::question(Ask ask) const {
  Record request;
  request.add("ask", name_of(ask));
  request.add("compiler", inner_->name());
  return request;
}

Record IsolatedCompiler::question(Ask ask, const CompileInput& input) const {
  Record request = question(ask);
  add_input(request, input);
  return request;
}

Answer IsolatedCompiler::can_compile(const Arch& arch) {
  const auto toolchain = inner_->toolchain();
  if (!toolchain) return Answer::no(toolchain.error().message);
  const Digest digest = toolchain->digest();
  if (const auto crash = recall(digest, subject_of(arch))) {
    return Answer::no(words_of(*crash, arch.name()));
  }
  {
    const std::lock_guard lock(mutex_);
    const auto known = answers_.find(arch.name());
    if (known != answers_.end()) return known->second;
  }
  Record request = question(Ask::can_compile);
  request.add("arch", arch.name());
  const auto reply = pool_->ask(request);
  if (!reply && is_the_workers(reply.error())) {
    warn(reply.error());
    return inner_->can_compile(arch);
  }
  if (!reply) return Answer::no(explain(reply.error(), "asked for " + arch.name()).message);
  const auto status = status_of(*reply);
  Answer answer = status ? Answer::yes(std::string(reply->find("note").value_or("")))
                         : Answer::no(status.error().message);
  if (!answer && traits_.tries_unlisted == arch.family()) {
    answer = try_unlisted(arch, digest, std::move(answer));
  }
  const std::lock_guard lock(mutex_);
  answers_.insert_or_assign(arch.name(), answer);
  return answer;
}

Answer IsolatedCompiler::try_unlisted(const Arch& arch, const Digest& toolchain, Answer listed) {
  const auto reply = pool_->ask(question(Ask::compile, probe_for(arch)));
  if (reply) return status_of(*reply) ? Answer::yes() : listed;
  if (reply.error().fault != WorkerFault::died) return listed;
  remember({std::string(name()), toolchain, subject_of(arch), reply.error().what, {}});
  return Answer::no(words_of(*recall(toolchain, subject_of(arch)), arch.name()));
}

Result<Artifact> IsolatedCompiler::compile(const CompileInput& input) {
  return compile_until(input, {});
}

Result<Artifact> IsolatedCompiler::compile_until(const CompileInput& input,
                                                 const std::stop_token& stop) {
  KILN_TRY(input.check());
  KILN_TRY_ASSIGN(const Record toolchain, inner_->toolchain());
  const Digest digest = toolchain.digest();
  KILN_TRY(check_crashes(input, digest));
  const auto reply = pool_->ask(question(Ask::compile, input), stop);
  if (reply) {
    KILN_TRY_ASSIGN(std::optional<Artifact> artifact, read_artifact(*reply, digest));
    if (artifact) return std::move(*artifact);
    warn({WorkerFault::broken, "gave an answer that makes no sense", {}});
    return inner_->compile(input);
  }
  if (is_the_workers(reply.error())) {
    warn(reply.error());
    return inner_->compile(input);
  }
  if (reply.error().fault == WorkerFault::died) return fail(judge(input, digest, reply.error()));
  return fail(explain(reply.error(), "compiling " + input.label()));
}

Result<std::optional<Artifact>> IsolatedCompiler::read_artifact(const Record& reply,
                                                                const Digest& toolchain) const {
  KILN_TRY(status_of(reply));
  auto artifact = artifact_of(reply);
  const auto compiled_by = reply.find("toolchain");
  if (!artifact || !compiled_by) return std::nullopt;
  if (compiled_by != toolchain.hex()) {
    return fail(ErrorCode::unavailable,
                fmt::format("{}: kiln-worker compiles with another build of it than this process "
                            "found, so its code would be stored under a wrong key; was it replaced "
                            "meanwhile? Start again, or name its library (KILN_*_LIBRARY)",
                            traits_.title));
  }
  return std::move(*artifact);
}

Result<std::string> IsolatedCompiler::emit(const CompileInput& input, std::string_view kind) {
  KILN_TRY_ASSIGN(const Record toolchain, inner_->toolchain());
  KILN_TRY(check_crashes(input, toolchain.digest()));
  Record request = question(Ask::emit, input);
  request.add("kind", kind);
  const auto reply = pool_->ask(request);
  if (reply) {
    KILN_TRY(status_of(*reply));
    return std::string(reply->find("text").value_or(""));
  }
  if (!is_the_workers(reply.error())) {
    return fail(explain(reply.error(), "compiling " + input.label()));
  }
  warn(reply.error());
  return inner_->emit(input, kind);
}

Result<Compiler::Description> IsolatedCompiler::describe(std::vector<LibraryAttempt>* attempts) {
  const auto reply = pool_->ask(question(Ask::describe));
  if (!reply && is_the_workers(reply.error())) {
    warn(reply.error());
    return inner_->describe(attempts);
  }
  if (!reply) return fail(explain(reply.error(), "asked for its version"));
  Description description = description_of(*reply);
  if (attempts) *attempts = description.attempts;
  KILN_TRY(status_of(*reply));
  description.runs_in = "kiln-worker processes";
  return description;
}

Error IsolatedCompiler::explain(const WorkerFailure& failure, std::string_view doing) const {
  if (failure.fault == WorkerFault::cancelled) {
    return {ErrorCode::cancelled, fmt::format("{}, {}: given up", traits_.title, doing), {}};
  }
  return {ErrorCode::unavailable, fmt::format("{}, {}, {}", traits_.title, doing, failure.what),
          failure.output};
}

void IsolatedCompiler::warn(const WorkerFailure& failure) const {
  const char* who = failure.fault == WorkerFault::broken ? "kiln-worker " : "";
  log_once(LogLevel::warning, fmt::format("{}{}; {} is called in this process instead", who,
                                          failure.what, traits_.title));
}

// Whoever dies even of an empty kernel has not died of what is in this one.
Error IsolatedCompiler::judge(const CompileInput& input, const Digest& toolchain,
                              const WorkerFailure& failure) {
  const auto probe = pool_->ask(question(Ask::compile, probe_for(input.arch)));
  const bool arch = !probe && probe.error().fault == WorkerFault::died;
  const std::string subject = arch ? subject_of(input.arch) : subject_of(input);
  remember({std::string(name()), toolchain, subject, failure.what, {}});
  return {ErrorCode::unavailable,
          words_of(*recall(toolchain, subject), arch ? input.arch.name() : input.label()),
          failure.output};
}

Result<void> IsolatedCompiler::check_crashes(const CompileInput& input, const Digest& toolchain) {
  if (const auto crash = recall(toolchain, subject_of(input.arch))) {
    return fail(ErrorCode::unavailable, words_of(*crash, input.arch.name()));
  }
  if (const auto crash = recall(toolchain, subject_of(input))) {
    return fail(ErrorCode::unavailable, words_of(*crash, input.label()));
  }
  return {};
}

std::optional<Crash> IsolatedCompiler::recall(const Digest& toolchain, const std::string& subject) {
  if (memory_) {
    if (auto crash = memory_->recall(toolchain, subject)) return crash;
  }
  const std::lock_guard lock(mutex_);
  const auto found = crashes_.find({toolchain, subject});
  return found == crashes_.end() ? std::nullopt : std::optional(found->second);
}

void IsolatedCompiler::remember(const Crash& crash) {
  if (memory_) memory_->remember(crash);
  const std::lock_guard lock(mutex_);
  crashes_.insert_or_assign({crash.toolchain, crash.subject}, crash);
}

std::string IsolatedCompiler::words_of(const Crash& crash, std::string_view on) const {
  std::string words = fmt::format(
      "{} died on {}: its process {}; this build of it is not asked "
      "for that again",
      traits_.title, on, crash.what);
  if (!crash.place.empty()) words += fmt::format(" (delete '{}' to try it)", crash.place);
  return words;
}

}  // namespace kiln
