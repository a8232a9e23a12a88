// SPDX-License-Identifier: Apache-2.0
// A plugin of another Kiln: right name, other version of the interface.
#include "jit/llvm/plugin_abi.h"

extern "C" const KilnLlvmPlugin* kiln_llvm_plugin() {
  static const KilnLlvmPlugin plugin = {kKilnLlvmAbiVersion + 1, "0", nullptr, nullptr};
  return &plugin;
}
