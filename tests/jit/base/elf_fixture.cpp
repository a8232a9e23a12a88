// SPDX-License-Identifier: Apache-2.0
// The code is nothing; its ELF notes and dynamic section are what the tests read.
extern "C" int kiln_elf_fixture() {
  return 1;
}
