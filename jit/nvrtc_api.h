// SPDX-License-Identifier: Apache-2.0
// The part of NVRTC's C interface that Kiln calls, declared here so that one build serves every
// machine. A test compares it with <nvrtc.h> where a CUDA toolkit is installed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "jit/base/shared_library.h"

namespace kiln {

enum NvrtcStatus {
  kNvrtcSuccess = 0,
  kNvrtcOutOfMemory = 1,
  kNvrtcInvalidOption = 5,
  kNvrtcCompilation = 6,
  kNvrtcBuiltinOperationFailure = 7,
  kNvrtcNameExpressionNotValid = 10,
};

struct NvrtcProgramState;
using NvrtcProgramHandle = NvrtcProgramState*;

// The one symbol list: it declares, loads and checks. X(name, parameters)
#define KILN_NVRTC_REQUIRED(X)                                                                \
  X(nvrtcCreateProgram,                                                                       \
    (NvrtcProgramHandle * program, const char* source, const char* name, int header_count,    \
     const char* const* headers, const char* const* header_names))                            \
  X(nvrtcDestroyProgram, (NvrtcProgramHandle * program))                                      \
  X(nvrtcAddNameExpression, (NvrtcProgramHandle program, const char* expression))             \
  X(nvrtcCompileProgram, (NvrtcProgramHandle program, int count, const char* const* options)) \
  X(nvrtcGetLoweredName,                                                                      \
    (NvrtcProgramHandle program, const char* expression, const char** lowered_name))          \
  X(nvrtcGetProgramLogSize, (NvrtcProgramHandle program, std::size_t * bytes))                \
  X(nvrtcGetProgramLog, (NvrtcProgramHandle program, char* log))                              \
  X(nvrtcGetPTXSize, (NvrtcProgramHandle program, std::size_t * bytes))                       \
  X(nvrtcGetPTX, (NvrtcProgramHandle program, char* ptx))

// Each of these missing turns off a feature: the version (then no option that only some know),
// machine code (PTX is stored in its place; CUDA 11.1 brought it), the list of archs (each is tried
// out; CUDA 11.2).
#define KILN_NVRTC_OPTIONAL(X)                                            \
  X(nvrtcVersion, (int* major, int* minor))                               \
  X(nvrtcGetCUBINSize, (NvrtcProgramHandle program, std::size_t * bytes)) \
  X(nvrtcGetCUBIN, (NvrtcProgramHandle program, char* cubin))             \
  X(nvrtcGetNumSupportedArchs, (int* count))                              \
  X(nvrtcGetSupportedArchs, (int* archs))

struct NvrtcApi {
#define KILN_NVRTC_DECLARE(name, parameters) NvrtcStatus(*name) parameters = nullptr;
  KILN_NVRTC_REQUIRED(KILN_NVRTC_DECLARE)
  KILN_NVRTC_OPTIONAL(KILN_NVRTC_DECLARE)
#undef KILN_NVRTC_DECLARE

  std::vector<std::string> missing;  // optional functions that this library lacks

  bool makes_cubin() const {
    return nvrtcGetCUBINSize && nvrtcGetCUBIN;
  }
  bool lists_archs() const {
    return nvrtcGetNumSupportedArchs && nvrtcGetSupportedArchs;
  }

  // Errors: unavailable, naming the required function that `library` lacks.
  static Result<NvrtcApi> load(const SharedLibrary& library);
};

}  // namespace kiln
