// SPDX-License-Identifier: Apache-2.0
// One hipRTC program: created, compiled once, read, destroyed.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "jit/hiprtc_api.h"
#include "jit/hiprtc_sources.h"

namespace kiln {

// The right to call hipRTC or comgr: one thread of the process at a time has it. With two threads
// inside they crash, or make other code than either alone.
std::unique_lock<std::mutex> hiprtc_turn();

// Has hipRTC's turn from create() until it is destroyed; so a thread has at most one. `api` must
// outlive it.
class HiprtcProgram {
 public:
  // Holds the texts and the name expressions of `input`.
  // Errors: invalid_argument (see hiprtc_sources); compile_failed, out_of_memory, with hipRTC's
  // status.
  static Result<HiprtcProgram> create(const HiprtcApi& api, const CompileInput& input);

  HiprtcProgram(HiprtcProgram&& other) noexcept;
  HiprtcProgram& operator=(HiprtcProgram&&) = delete;
  ~HiprtcProgram();

  HiprtcStatus compile(const std::vector<std::string>& options);
  // What hipRTC printed, after any compile().
  std::string log() const;

  // After a successful compile() only: after a failed one hipRTC gives the size of the code before.
  Result<std::string> code() const;
  Result<std::string> lowered_name(const std::string& expression) const;

 private:
  HiprtcProgram(const HiprtcApi& api, HiprtcProgramHandle handle, std::unique_lock<std::mutex> turn)
      : api_(&api), handle_(handle), turn_(std::move(turn)) {}

  const HiprtcApi* api_;
  HiprtcProgramHandle handle_;
  std::unique_lock<std::mutex> turn_;
};

}  // namespace kiln
