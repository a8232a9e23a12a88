// SPDX-License-Identifier: Apache-2.0
// A library that only has to lie beside another one.
extern "C" {
int kiln_stub_beside(void) {
  return 0;
}

}  // extern "C"
