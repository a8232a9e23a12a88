// SPDX-License-Identifier: Apache-2.0
// AMD's runtime compiler: HIP C++ to a code object, for gfx*. Needs neither a GPU nor a driver.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "jit/compilers.h"
#include "jit/hiprtc_files.h"

namespace kiln {

struct LoadedHiprtc;

// Compiles wait for one another, in all of the process: hipRTC is not thread-safe.
class HiprtcCompiler final : public Compiler {
 public:
  explicit HiprtcCompiler(CompilerSettings settings);
  ~HiprtcCompiler() override;

  std::string_view name() const override { return "hiprtc"; }
  Result<Record> toolchain() override;
  Answer can_compile(const Arch& arch) override;
  Result<Artifact> compile(const CompileInput& input) override;
  // hipRTC gives no intermediate text: always an error.
  Result<std::string> emit(const CompileInput& input, std::string_view kind) override;
  Result<Description> describe(std::vector<LibraryAttempt>* attempts) override;

 private:
  // Found once, so that the key and the libraries that are opened later belong together.
  Result<HiprtcFiles> files();
  Result<const LoadedHiprtc*> loaded();
  // hipRTC ends the process on an arch that it does not know, so each is asked of comgr first.
  Answer knows(const LoadedHiprtc& hiprtc, const Arch& arch);

  const CompilerSettings settings_;
  std::mutex mutex_;  // guards what follows; not held while compiling
  std::optional<HiprtcFiles> files_;
  std::unique_ptr<LoadedHiprtc> loaded_;
  std::map<std::string, bool> asked_archs_;
};

}  // namespace kiln
