// SPDX-License-Identifier: Apache-2.0
// Artifact: what a compiler made of a CompileInput.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "jit/base/bytes.h"
#include "jit/base/export.h"
#include "jit/base/result.h"

namespace kiln {

enum class CodeFormat {
  cubin,          // NVIDIA machine code
  ptx,            // NVIDIA virtual code, compiled further by the driver
  hsaco,          // AMD code object
  shared_object,  // x86-64 ELF, loaded into this process
};

KILN_API std::string_view name_of(CodeFormat format);

// What the compiler says of one entry point. Absent: this compiler does not say.
struct KernelResources {
  std::optional<int> registers;            // per thread
  std::optional<int> shared_bytes_static;  // per block
  std::optional<int> stack_bytes;          // per thread, local memory
  std::optional<int> spill_store_bytes;    // per thread
  std::optional<int> spill_load_bytes;     // per thread
  std::optional<int> threads_per_block_max;
  friend bool operator==(const KernelResources&, const KernelResources&) = default;
};

struct EntryPoint {
  std::string name_expression;  // as in CompileInput
  std::string symbol;           // the lowered (mangled) name in `code`
  KernelResources resources;
  friend bool operator==(const EntryPoint&, const EntryPoint&) = default;
};

// A compiler of the chain that was asked before, and why it did not make the artifact.
struct PassedOver {
  std::string compiler;
  std::string reason;
  friend bool operator==(const PassedOver&, const PassedOver&) = default;
};

struct KILN_API Artifact {
  CodeFormat format = CodeFormat::cubin;
  Bytes code;
  std::vector<EntryPoint> entries;  // in the order of CompileInput::name_expressions

  // How it came about. Not part of the stored bytes: it differs from compile to compile.
  std::string compiler;          // "nvrtc"
  std::string compiler_version;  // "13.0"
  std::string note;              // what is not as asked for: "PTX for sm_121: ..."
  std::vector<PassedOver> passed_over;
  double compile_time_ms = 0;
  std::uint64_t memory_bytes_peak = 0;  // of the worker process that compiled; 0: none did
  std::string log;

  // The reproducible part, as stored; and back.
  // Errors of decode: cache_failed, when `bytes` is no artifact of this entry format.
  Bytes encode() const;
  static Result<Artifact> decode(ByteView bytes);
};

}  // namespace kiln
