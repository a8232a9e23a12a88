/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the C program share. */
#ifndef KILN_TESTS_RUNTIME_EMBED_C_API_TEST_H
#define KILN_TESTS_RUNTIME_EMBED_C_API_TEST_H

#include <stdio.h>
#include <string.h>

#include "kiln/c_api.h"

extern int failures;
#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) {                                                                 \
      ++failures;                                                                       \
      printf("line %d: %s; last error: %s\n", __LINE__, #condition, kiln_last_error()); \
    }                                                                                   \
  } while (0)
#define SAYS(call, status, words) \
  CHECK((call) == (status) && strstr(kiln_last_error(), (words)) != NULL)

/* A compact tensor on the CPU; its shape has room for a fourth size. */
DLTensor tensor(void* data, DLDataTypeCode code, int bits, int ndim, int64_t a, int64_t b,
                int64_t c);
/* How many shapes are in use: to begin anew. */
extern int shape_count;

void refuse_bad_variants(void);
void run_a_variant(kiln_runtime* runtime);
void run_a_decode_variant(kiln_runtime* runtime); /* behind run_a_variant() */

#endif
