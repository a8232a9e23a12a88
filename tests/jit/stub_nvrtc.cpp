// SPDX-License-Identifier: Apache-2.0
// A library with NVRTC's functions that behaves as one version of it does, or as none should.
// "Machine code" and "PTX" are texts that say what was asked for. Chosen when it is built:
//   STUB_MAJOR, STUB_MINOR  what nvrtcVersion says
//   STUB_VERSION_FAILS      it fails instead; STUB_LACKS_VERSION: it is not there
//   STUB_NEWEST             the newest arch, as a number; with STUB_KNOWS_A also its `a` form
//   STUB_LACKS_CUBIN        as before CUDA 11.1
//   STUB_LACKS_ARCHS        as before CUDA 11.2
//   STUB_ARCH_COUNT         what nvrtcGetNumSupportedArchs says; else the right number
//   STUB_KNOWS_NO_CACHE     as from CUDA 12.9 on
//   STUB_COMPILES_NOTHING   every source is in error
//   STUB_LACKS_REQUIRED     it has no nvrtcGetProgramLog
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {

enum { kSuccess = 0, kInvalidOption = 5, kCompilation = 6 };

struct Program {
  char arch[32];
  char options[512];
  char code[600];
  const char* log;
};

static const int kArchs[] = {75, 80, 86, 90, 100, 120};

static int arch_count(void) {
  int count = 0;
  while (count < 6 && kArchs[count] <= STUB_NEWEST) ++count;
  return count;
}

#ifndef STUB_LACKS_VERSION
int nvrtcVersion(int* major, int* minor) {
#ifdef STUB_VERSION_FAILS
  return 1;
#else
  *major = STUB_MAJOR;
  *minor = STUB_MINOR;
  return kSuccess;
#endif
}
#endif

int nvrtcCreateProgram(Program** program, const char* source, const char* name, int header_count,
                       const char* const* headers, const char* const* header_names) {
  *program = static_cast<Program*>(calloc(1, sizeof **program));
  (*program)->log = strstr(source, "undeclared")
                        ? "reverse/simple.cu(13): error: identifier \"undeclared\" is undefined\n"
                        : "";
#ifdef STUB_COMPILES_NOTHING
  (*program)->log = "simple.cu(1): error: nothing is right today\n";
#endif
  return kSuccess;
}
int nvrtcDestroyProgram(Program** program) {
  free(*program);
  *program = nullptr;
  return kSuccess;
}
int nvrtcAddNameExpression(Program* program, const char* expression) {
  return kSuccess;
}

static int knows(const char* arch) {
  const int number = atoi(strchr(arch, '_') + 1);
  const char last = arch[strlen(arch) - 1];
  if (last < '0' || last > '9') {
#ifdef STUB_KNOWS_A
    return number == STUB_NEWEST && last == 'a';
#else
    return 0;
#endif
  }
  for (int i = 0; i < arch_count(); ++i) {
    if (kArchs[i] == number) return 1;
  }
  return 0;
}

int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  const char* const prefix = "--gpu-architecture=";
  for (int i = 0; i < count; ++i) {
#ifndef STUB_KNOWS_NO_CACHE
    if (!strcmp(options[i], "--no-cache")) {
      program->log = "nvrtc: error: unrecognized option --no-cache\n";
      return kInvalidOption;
    }
#endif
    strncat(program->options, options[i], sizeof program->options - strlen(program->options) - 2);
    strcat(program->options, " ");
    if (strncmp(options[i], prefix, strlen(prefix)) != 0) continue;
    if (!knows(options[i] + strlen(prefix))) {
      program->log = "nvrtc: error: invalid value for --gpu-architecture\n";
      return kInvalidOption;
    }
    snprintf(program->arch, sizeof program->arch, "%s", options[i] + strlen(prefix));
  }
  return program->log[0] ? kCompilation : kSuccess;
}

int nvrtcGetLoweredName(Program* program, const char* expression, const char** name) {
  *name = expression;
  return kSuccess;
}
int nvrtcGetProgramLogSize(Program* program, size_t* bytes) {
  *bytes = strlen(program->log) + 1;
  return kSuccess;
}
#ifndef STUB_LACKS_REQUIRED
int nvrtcGetProgramLog(Program* program, char* log) {
  strcpy(log, program->log);
  return kSuccess;
}
#endif
int nvrtcGetPTXSize(Program* program, size_t* bytes) {
  *bytes = (size_t)snprintf(program->code, sizeof program->code, "PTX %s %s", program->arch,
                            program->options) +
           1;
  return kSuccess;
}
int nvrtcGetPTX(Program* program, char* ptx) {
  strcpy(ptx, program->code);
  return kSuccess;
}

#ifndef STUB_LACKS_CUBIN
int nvrtcGetCUBINSize(Program* program, size_t* bytes) {
  const int is_real = !strncmp(program->arch, "sm_", 3);
  *bytes = is_real ? (size_t)snprintf(program->code, sizeof program->code, "CUBIN %s %s",
                                      program->arch, program->options)
                   : 0;
  return kSuccess;
}
int nvrtcGetCUBIN(Program* program, char* cubin) {
  memcpy(cubin, program->code, strlen(program->code));
  return kSuccess;
}
#endif

#ifndef STUB_LACKS_ARCHS
int nvrtcGetNumSupportedArchs(int* count) {
#ifdef STUB_ARCH_COUNT
  *count = STUB_ARCH_COUNT;
#else
  *count = arch_count();
#endif
  return kSuccess;
}
int nvrtcGetSupportedArchs(int* archs) {
  memcpy(archs, kArchs, sizeof kArchs[0] * (size_t)arch_count());
  return kSuccess;
}
#endif

}  // extern "C"
