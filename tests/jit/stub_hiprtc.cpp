// SPDX-License-Identifier: Apache-2.0
// A library with hipRTC's functions, whether as libhiprtc.so or inside libamdhip64.so. Its code
// object has the notes of one kernel, named by the last name expression. Chosen when it is built:
//   STUB_MAJOR           what hiprtcVersion says
//   STUB_LACKS_VERSION   it does not say its version
//   STUB_LACKS_REQUIRED  it has no hiprtcGetCodeSize
//   STUB_BREAKS_DOWN     every compile fails for a reason of its own
#include <elf.h>
#include <stdlib.h>
#include <string.h>

extern "C" {

struct Program {
  char expression[128];
  unsigned char code[512];
  size_t bytes;
};

#ifndef STUB_LACKS_VERSION
int hiprtcVersion(int* major, int* minor) {
  *major = STUB_MAJOR;
  *minor = 1;
  return 0;
}
#endif
int hiprtcCreateProgram(Program** program, const char* source, const char* name, int header_count,
                        const char** headers, const char** header_names) {
  *program = static_cast<Program*>(calloc(1, sizeof **program));
  return 0;
}
int hiprtcDestroyProgram(Program** program) {
  free(*program);
  *program = nullptr;
  return 0;
}
int hiprtcAddNameExpression(Program* program, const char* expression) {
  strncpy(program->expression, expression, sizeof program->expression - 1);
  return 0;
}

static void put(Program* program, const void* bytes, size_t count) {
  memcpy(program->code + program->bytes, bytes, count);
  program->bytes += count;
}

int hiprtcCompileProgram(Program* program, int count, const char** options) {
#ifdef STUB_BREAKS_DOWN
  return 7;  // HIPRTC_ERROR_BUILTIN_OPERATION_FAILURE
#endif
  // {"amdhsa.kernels": [{".name": <expression>, ".vgpr_count": 7}]} in MessagePack
  unsigned char metadata[256];
  size_t size = 0;
  const char name_size = (char)strlen(program->expression);
  const char start[] =
      "\x81\xae"
      "amdhsa.kernels"
      "\x91\x82\xa5"
      ".name"
      "\xd9";
  memcpy(metadata, start, sizeof start - 1);
  size = sizeof start - 1;
  metadata[size++] = (unsigned char)name_size;
  memcpy(metadata + size, program->expression, (size_t)name_size);
  size += (size_t)name_size;
  memcpy(metadata + size,
         "\xab"
         ".vgpr_count"
         "\x07",
         13);
  size += 13;
  const size_t padded = (size + 3) & ~(size_t)3;

  Elf64_Ehdr header{};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Nhdr note{};
  note.n_namesz = 7;
  note.n_descsz = static_cast<Elf64_Word>(size);
  note.n_type = 32;
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof header + sizeof segment;
  segment.p_filesz = sizeof note + 8 + padded;
  put(program, &header, sizeof header);
  put(program, &segment, sizeof segment);
  put(program, &note, sizeof note);
  put(program, "AMDGPU\0", 8);
  put(program, metadata, padded);
  return 0;
}

int hiprtcGetLoweredName(Program* program, const char* expression, const char** name) {
  *name = expression;
  return 0;
}
int hiprtcGetProgramLogSize(Program* program, size_t* bytes) {
  *bytes = 0;
  return 0;
}
int hiprtcGetProgramLog(Program* program, char* log) {
  return 0;
}
#ifndef STUB_LACKS_REQUIRED
int hiprtcGetCodeSize(Program* program, size_t* bytes) {
  *bytes = program->bytes;
  return 0;
}
#endif
int hiprtcGetCode(Program* program, char* code) {
  memcpy(code, program->code, program->bytes);
  return 0;
}

}  // extern "C"
