// SPDX-License-Identifier: Apache-2.0
// One NVRTC program: created, compiled once, read, destroyed.
#pragma once

#include <string>
#include <vector>

#include "jit/base/compile_input.h"
#include "jit/nvrtc_api.h"

namespace kiln {

// One thread at a time. `api` must outlive it.
class NvrtcProgram {
 public:
  // Holds the source, the headers and the name expressions of `input`.
  // Errors: compile_failed, out_of_memory, with NVRTC's status.
  static Result<NvrtcProgram> create(const NvrtcApi& api, const CompileInput& input);

  NvrtcProgram(NvrtcProgram&& other) noexcept;
  NvrtcProgram& operator=(NvrtcProgram&&) = delete;
  ~NvrtcProgram();

  NvrtcStatus compile(const std::vector<std::string>& options);
  // What NVRTC printed, after any compile().
  std::string log() const;

  // After a successful compile().
  Result<std::string> cubin() const;
  Result<std::string> ptx() const;
  Result<std::string> lowered_name(const std::string& expression) const;

 private:
  NvrtcProgram(const NvrtcApi& api, NvrtcProgramHandle handle) : api_(&api), handle_(handle) {}

  using GetSize = NvrtcStatus (*)(NvrtcProgramHandle, std::size_t*);
  using GetText = NvrtcStatus (*)(NvrtcProgramHandle, char*);
  Result<std::string> read(const char* what, GetSize get_size, GetText get_text) const;

  const NvrtcApi* api_;
  NvrtcProgramHandle handle_;
};

}  // namespace kiln
