// SPDX-License-Identifier: Apache-2.0
// A library with the names of NVRTC's functions, some left out: for the symbol list, which looks
// at names only. None of them is called.
#define KILN_NAME(name) \
  extern "C" void name() {}

KILN_NAME(nvrtcVersion)
KILN_NAME(nvrtcCreateProgram)
KILN_NAME(nvrtcDestroyProgram)
KILN_NAME(nvrtcAddNameExpression)
KILN_NAME(nvrtcCompileProgram)
KILN_NAME(nvrtcGetLoweredName)
KILN_NAME(nvrtcGetProgramLogSize)
#ifndef KILN_LACKS_REQUIRED
KILN_NAME(nvrtcGetProgramLog)
#endif
KILN_NAME(nvrtcGetPTXSize)
KILN_NAME(nvrtcGetPTX)
#ifndef KILN_LACKS_OPTIONAL
KILN_NAME(nvrtcGetCUBINSize)
KILN_NAME(nvrtcGetNumSupportedArchs)
KILN_NAME(nvrtcGetSupportedArchs)
#endif
KILN_NAME(nvrtcGetCUBIN)
