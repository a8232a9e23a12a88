// SPDX-License-Identifier: Apache-2.0
// A library with comgr's functions. Chosen when it is built:
//   STUB_MAJOR           2 or 3; 3 knows more chips
//   STUB_LACKS_VERSION   it does not say its version
//   STUB_LACKS_REQUIRED  it has no amd_comgr_get_isa_name
//   STUB_LISTS_NONE      it lists no chip
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern "C" {

struct Metadata {
  uint64_t handle;
};

static const char* const kIsas[] = {"amdgcn-amd-amdhsa--gfx90a", "amdgcn-amd-amdhsa--gfx942",
                                    "amdgcn-amd-amdhsa--gfx1100"};
static size_t isa_count(void) {
#ifdef STUB_LISTS_NONE
  return 0;
#else
  return STUB_MAJOR == 2 ? 1 : 3;
#endif
}

#ifndef STUB_LACKS_VERSION
void amd_comgr_get_version(size_t* major, size_t* minor) {
  *major = STUB_MAJOR;
  *minor = 8;
}
#endif
int amd_comgr_get_isa_count(size_t* count) {
  *count = isa_count();
  return 0;
}
#ifndef STUB_LACKS_REQUIRED
int amd_comgr_get_isa_name(size_t index, const char** name) {
  if (index >= isa_count()) return 1;
  *name = kIsas[index];
  return 0;
}
#endif
int amd_comgr_get_isa_metadata(const char* name, Metadata* metadata) {
  metadata->handle = 1;
  return strstr(name, "xnack") ? 0 : 1;
}
int amd_comgr_destroy_metadata(Metadata metadata) {
  return 0;
}

}  // extern "C"
