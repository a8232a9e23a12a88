// SPDX-License-Identifier: Apache-2.0
// A library with the names of some of hipRTC's and comgr's functions: for the symbol lists, which
// look at names only. None of them is called.
#define KILN_NAME(name) \
  extern "C" void name() {}

KILN_NAME(hiprtcVersion)
KILN_NAME(hiprtcCreateProgram)
KILN_NAME(hiprtcDestroyProgram)
KILN_NAME(hiprtcAddNameExpression)
KILN_NAME(hiprtcCompileProgram)
KILN_NAME(hiprtcGetLoweredName)
KILN_NAME(hiprtcGetProgramLogSize)
KILN_NAME(hiprtcGetProgramLog)
KILN_NAME(amd_comgr_get_isa_count)
