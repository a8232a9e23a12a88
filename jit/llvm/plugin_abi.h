// SPDX-License-Identifier: Apache-2.0
// The C interface between Kiln and its LLVM plugin, libkiln_llvm.so. Read by both sides, so plain
// types only. Any change here is a new kKilnLlvmAbiVersion.
#pragma once

#include <stddef.h>

constexpr unsigned kKilnLlvmAbiVersion = 3;

// Bytes that belong to the caller and live for the length of the call.
struct KilnText {
  const char* data;
  size_t size_bytes;
};

struct KilnTextList {
  const KilnText* items;
  size_t count;
};

struct KilnNamedText {
  KilnText name;
  KilnText text;
};

enum KilnLlvmStatus : unsigned {
  kKilnLlvmOk = 0,
  kKilnLlvmCompileFailed = 1,    // the source is wrong
  kKilnLlvmUnavailable = 2,      // this LLVM does not know the processor or a feature
  kKilnLlvmInvalidArgument = 3,  // the request is wrong: two files of one name and the like
  kKilnLlvmInternal = 4,
};

enum KilnLlvmOutput : unsigned {
  kKilnLlvmLinked = 0,  // x86-64: a shared object; AMDGPU: a code object
  kKilnLlvmIr = 1,      // LLVM IR after optimization
  kKilnLlvmAssembly = 2,
};

// What the code is for besides running.
enum KilnLlvmDebug : unsigned {
  kKilnLlvmNoDebug = 0,
  kKilnLlvmLines = 1,  // optimized, with the source line of each instruction
  kKilnLlvmSteps = 2,  // not optimized: every line and variable for a debugger
};

enum KilnLlvmFamily : unsigned {
  kKilnLlvmX86 = 0,
  kKilnLlvmAmdGpu = 1,  // the source is HIP
};

struct KilnLlvmTarget {
  KilnLlvmFamily family;
  KilnText cpu;           // "x86-64-v4", "gfx942"
  KilnTextList features;  // "+avx512bf16", "-xnack": change those of `cpu`
};

struct KilnLlvmRequest {
  KilnLlvmTarget target;
  KilnNamedText source;
  const KilnNamedText* headers;  // all that #include may find, by exactly these names
  size_t header_count;
  KilnTextList name_expressions;  // C++ expressions that name the entry points
  KilnTextList options;           // -D, -U and -std= as clang takes them
  KilnLlvmOutput output;
  KilnLlvmDebug debug;
};

// How the plugin answers: it hands out texts that live until the function returns.
struct KilnLlvmReply {
  void* context;
  void (*output)(void* context, KilnText bytes);  // once, on success
  void (*symbol)(void* context, KilnText name);   // per name expression, in order, on success
  void (*log)(void* context, KilnText text);      // the compiler's own words, on either
  void (*message)(void* context, KilnText text);  // one line, on failure
};

// Every function may be called from any thread, at the same time.
struct KilnLlvmPlugin {
  unsigned abi_version;      // first, and never moved
  const char* llvm_version;  // "22.1.8"
  KilnLlvmStatus (*supports)(const KilnLlvmTarget* target, const KilnLlvmReply* reply);
  KilnLlvmStatus (*compile)(const KilnLlvmRequest* request, const KilnLlvmReply* reply);
};

// The one exported function: `const KilnLlvmPlugin* kiln_llvm_plugin()`, never null.
constexpr const char* kKilnLlvmEntry = "kiln_llvm_plugin";
using KilnLlvmEntry = const KilnLlvmPlugin*();
