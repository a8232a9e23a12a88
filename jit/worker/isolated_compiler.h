// SPDX-License-Identifier: Apache-2.0
// A compiler that does its work in kiln-worker processes, so that its crash, its hang or its hunger
// for memory ends there.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "jit/worker/protocol.h"
#include "jit/worker/worker_pool.h"

namespace kiln {

// What `inner` does, done by a worker. Where no worker can be had, `inner` does it in this process;
// where the worker fell over the compiler, nobody tries again: an error says what happened, and a
// crash is remembered for this toolchain.
class IsolatedCompiler final : public Compiler {
 public:
  struct Traits {
    std::string title;  // "hipRTC", for messages
    // Archs of this family are tried even if the compiler does not list them.
    std::optional<ArchFamily> tries_unlisted;
  };

  IsolatedCompiler(std::unique_ptr<Compiler> inner, Traits traits, std::shared_ptr<WorkerPool> pool,
                   std::shared_ptr<CrashMemory> crashes);
  ~IsolatedCompiler() override;

  std::string_view name() const override { return inner_->name(); }
  Result<Record> toolchain() override { return inner_->toolchain(); }
  // Tries an empty kernel for an arch that is not listed.
  Answer can_compile(const Arch& arch) override;
  Result<Artifact> compile(const CompileInput& input) override;
  // Errors: also unavailable when the compiler died, hung or took too much memory, now or earlier.
  Result<Artifact> compile_until(const CompileInput& input, const std::stop_token& stop) override;
  Result<std::string> emit(const CompileInput& input, std::string_view kind) override;
  Result<Description> describe(std::vector<LibraryAttempt>* attempts) override;

 private:
  Record question(Ask ask) const;
  Record question(Ask ask, const CompileInput& input) const;

  Answer try_unlisted(const Arch& arch, const Digest& toolchain, Answer listed);
  // What the worker answered; nothing when its answer makes no sense.
  Result<std::optional<Artifact>> read_artifact(const Record& reply, const Digest& toolchain) const;
  Error explain(const WorkerFailure& failure, std::string_view doing) const;
  void warn(const WorkerFailure& failure) const;

  // The worker died on `input`. Remembers whether it was the arch or this kernel.
  Error judge(const CompileInput& input, const Digest& toolchain, const WorkerFailure& failure);
  Result<void> check_crashes(const CompileInput& input, const Digest& toolchain);
  std::optional<Crash> recall(const Digest& toolchain, const std::string& subject);
  void remember(const Crash& crash);
  std::string words_of(const Crash& crash, std::string_view on) const;

  const std::unique_ptr<Compiler> inner_;
  const Traits traits_;
  const std::shared_ptr<WorkerPool> pool_;
  const std::shared_ptr<CrashMemory> memory_;  // null: this process alone remembers

  std::mutex mutex_;  // guards what follows; not held while asking
  std::map<std::string, Answer> answers_;
  std::map<std::pair<Digest, std::string>, Crash> crashes_;
};

}  // namespace kiln
