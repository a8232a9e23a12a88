/* SPDX-License-Identifier: Apache-2.0 */
#include <kiln/c_api.h>
#include <stdio.h>

int main(void) {
  kiln_runtime* runtime = NULL;
  kiln_request request = {sizeof request, "router_gemm", NULL, 0, {kDLCPU, 0}, NULL};
  int ready = -1;
  if (kiln_abi_version() != KILN_ABI_VERSION) return 1;
  if (kiln_runtime_create(NULL, &runtime) != KILN_OK ||
      kiln_ready(runtime, &request, &ready) != KILN_OK) {
    printf("%s\n", kiln_last_error());
    return 1;
  }
  printf("from C: ready %d\n", ready);
  kiln_runtime_destroy(runtime);
  return 0;
}
