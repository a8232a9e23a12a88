// SPDX-License-Identifier: Apache-2.0
// The part of hipRTC's C interface that Kiln calls, declared here so that one build serves every
// machine. A test compares it with <hip/hiprtc.h> where that is installed.
#pragma once

#include <cstddef>
#include <string>

#include "jit/base/shared_library.h"

namespace kiln {

enum HiprtcStatus {
  kHiprtcSuccess = 0,
  kHiprtcOutOfMemory = 1,
  kHiprtcCompilation = 6,
  kHiprtcBuiltinOperationFailure = 7,
};

struct HiprtcProgramState;
using HiprtcProgramHandle = HiprtcProgramState*;

// The one symbol list: it declares, loads and checks. All versions of hipRTC have all of it,
// whether in libamdhip64.so.5 or in a libhiprtc.so of their own. X(name, parameters)
#define KILN_HIPRTC_REQUIRED(X)                                                                \
  X(hiprtcCreateProgram, (HiprtcProgramHandle * program, const char* source, const char* name, \
                          int header_count, const char** headers, const char** header_names))  \
  X(hiprtcDestroyProgram, (HiprtcProgramHandle * program))                                     \
  X(hiprtcAddNameExpression, (HiprtcProgramHandle program, const char* expression))            \
  X(hiprtcCompileProgram, (HiprtcProgramHandle program, int count, const char** options))      \
  X(hiprtcGetLoweredName,                                                                      \
    (HiprtcProgramHandle program, const char* expression, const char** lowered_name))          \
  X(hiprtcGetProgramLogSize, (HiprtcProgramHandle program, std::size_t * bytes))               \
  X(hiprtcGetProgramLog, (HiprtcProgramHandle program, char* log))                             \
  X(hiprtcGetCodeSize, (HiprtcProgramHandle program, std::size_t * bytes))                     \
  X(hiprtcGetCode, (HiprtcProgramHandle program, char* code))

// Missing: the version is unknown.
#define KILN_HIPRTC_OPTIONAL(X) X(hiprtcVersion, (int* major, int* minor))

struct HiprtcApi {
#define KILN_HIPRTC_DECLARE(name, parameters) HiprtcStatus(*name) parameters = nullptr;
  KILN_HIPRTC_REQUIRED(KILN_HIPRTC_DECLARE)
  KILN_HIPRTC_OPTIONAL(KILN_HIPRTC_DECLARE)
#undef KILN_HIPRTC_DECLARE

  // "9.0", or "of unknown version".
  std::string version() const;

  // Errors: unavailable, naming the required function that `library` lacks.
  static Result<HiprtcApi> load(const SharedLibrary& library);
};

}  // namespace kiln
