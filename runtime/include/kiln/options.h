// SPDX-License-Identifier: Apache-2.0
// Options of a Runtime, and the one place that reads Kiln's environment variables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jit/base/export.h"
#include "jit/base/log.h"
#include "jit/base/result.h"
#include "jit/compilers.h"
#include "kiln/event.h"

namespace kiln {

using NameValue = std::pair<std::string, std::string>;

enum class CachePolicy {
  read_write,  // look up, compile what is missing, store it
  read_only,   // look up, compile what is missing, store nothing on disk
  locked,      // look up; a miss is an error that says what is missing
  off,         // no disk cache at all
};

enum class ToolchainPolicy {
  any,    // where no compiler for the arch can be found, the newest entry of the request serves
  exact,  // only entries made by the compiler that is here
};

// Where to look for the vendors' driver libraries.
struct DriverSettings {
  std::optional<std::filesystem::path> cuda_library;  // KILN_CUDA_LIBRARY
  std::optional<std::filesystem::path> hip_library;   // KILN_HIP_LIBRARY
  std::vector<std::filesystem::path> rocm_folders;    // $ROCM_PATH, /opt/rocm
};

// "512M" to bytes; `name` is where it was given. Errors: invalid_argument, saying what is accepted.
KILN_API Result<std::uint64_t> parse_size(std::string_view name, const std::string& text);

struct KILN_API Options {
  // The defaults, changed by what the environment says:
  //   KILN_CACHE_DIR      folder of the writable cache; default $XDG_CACHE_HOME/kiln or
  //                       ~/.cache/kiln; with no home, no disk cache
  //   KILN_CACHE_POLICY   read_write | read_only | locked | off
  //   KILN_CACHE_LAYERS   read-only caches: folders, or bundles signed by a trusted key; absolute
  //                       paths, separated by ':'; asked in order
  //   KILN_CACHE_SIZE     bytes, or with K, M, G; default 2G
  //   KILN_TOOLCHAIN      any | exact
  //   KILN_TRUSTED_KEYS   the list of keys whose bundles are accepted; default
  //                       $XDG_CONFIG_HOME/kiln/trusted_keys or ~/.config/kiln/trusted_keys
  //   KILN_SIGNING_KEY    the key that bundles are signed with; default signing_key beside that
  //   KILN_JOBS           compiles at a time in prewarm, and in kiln-worker processes; default: the
  //                       cores this process may use
  //   KILN_ISOLATION      hiprtc (the default: hipRTC compiles in kiln-worker processes) | all
  //                       (every compiler does) | off
  //   KILN_WORKER         the kiln-worker program; default: the one beside the library
  //   KILN_LOG            debug | info | warning | off
  //   KILN_NVRTC_LIBRARY, KILN_HIPRTC_LIBRARY, KILN_COMGR_LIBRARY, KILN_LLVM_LIBRARY,
  //   KILN_CUDA_LIBRARY, KILN_HIP_LIBRARY
  //                       the library to use, and no other
  //   KILN_DISABLE        implementations that do not serve ("attention_prefill/mma"), separated by
  //                       ','; the next one of the op's chain does
  //   KILN_DUMP           a folder that receives the sources, options and log of each compile
  //   KILN_RECORD_PLAN    a file that receives the requests for ops (kiln/plan.h), each once
  //   ROCM_PATH           a ROCm installation to look in
  //   CUDA_HOME           a CUDA toolkit to look in
  //   VIRTUAL_ENV, CONDA_PREFIX, PATH, HOME
  //                       Python installations whose wheels are looked in
  // Errors: invalid_argument, naming the variable, its value and what is accepted.
  //
  // `instead` are names of these variables with values that win over the environment's; a value is
  // checked in the same way, and a name that is none of these is an invalid_argument.
  static Result<Options> from_environment(std::span<const NameValue> instead = {});

  std::optional<std::filesystem::path> cache_folder;  // none: no disk cache
  std::vector<std::filesystem::path> cache_layers;    // asked after it, in this order
  CachePolicy cache_policy = CachePolicy::read_write;
  std::uint64_t cache_size_bytes_max = std::uint64_t{2} << 30;
  ToolchainPolicy toolchain_policy = ToolchainPolicy::any;
  std::optional<std::filesystem::path> trusted_keys_file;  // none: nobody is trusted
  std::optional<std::filesystem::path> signing_key_file;   // need not exist
  int jobs = 1;
  // How long another process may hold a key's lease before this one compiles as well.
  int lease_wait_ms_max = 60'000;
  LogLevel log_level = LogLevel::warning;
  std::optional<std::filesystem::path> dump_folder;       // see jit/compile_dump.h
  std::optional<std::filesystem::path> record_plan_file;  // see kiln/plan.h
  CompilerSettings compilers;
  // This implementation ("kda_decode/small_batch") serves its op, and no other one: for tests and
  // measurements.
  std::optional<std::string> only_implementation;
  // These do not serve, and the next of their op's chain does: for a kernel that a chip, a driver
  // or a compiler gets wrong. Runtime::create refuses names that no implementation has.
  std::vector<std::string> disabled_implementations;
  DriverSettings drivers;
  // Told of each compile and each fall-back, so that an engine can show progress.
  EventCallback on_event;
};

}  // namespace kiln
