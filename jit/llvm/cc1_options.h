// SPDX-License-Identifier: Apache-2.0
// What Kiln always tells clang and lld. The plugin passes these on; the host puts them into the
// toolchain half of the key.
#pragma once

namespace kiln {

// For clang's own parser (-cc1), where most of the driver's defaults are off unless asked for.
inline constexpr const char* kCc1Options[] = {
    // clang-format off
    // Nothing of this machine is to be found by #include.
    "-nostdsysteminc", "-nostdinc++", "-nobuiltininc", "-I", ".",
    "-O3", "-vectorize-loops", "-vectorize-slp",
    // Fused multiply-add, and nothing else of -ffast-math: it breaks exp of extreme arguments.
    "-ffp-contract=fast",
    "-fvisibility=hidden", "-mframe-pointer=none",
    // What would need a runtime library: there is none.
    "-fno-rtti", "-fno-threadsafe-statics",
    "-fgnuc-version=4.2.1",
    // clang-format on
};

// After those, for x86-64.
inline constexpr const char* kCc1X86Options[] = {
    // clang-format off
    "-triple", "x86_64-unknown-linux-gnu",
    "-x", "c++",
    // Explicit 512-bit vectors stay in one register; "generic" alone would not prefer less.
    "-tune-cpu", "generic", "-mprefer-vector-width=512",
    "-mrelocation-model", "pic", "-pic-level", "2", "-fhalf-no-semantic-interposition",
    // clang-format on
};

// After those, for AMDGPU: the device half of a HIP compile, with no device libraries.
inline constexpr const char* kCc1AmdGpuOptions[] = {
    // clang-format off
    "-triple", "amdgcn-amd-amdhsa", "-aux-triple", "x86_64-unknown-linux-gnu",
    "-x", "hip", "-fcuda-is-device", "-fapply-global-visibility-to-externs",
    // clang-format on
};
// The one that every ROCm from 4 to 7 loads, and that hipRTC 5 makes; generic processors came with
// a later one.
inline constexpr const char* kCodeObjectOption = "-mcode-object-version=4";
inline constexpr const char* kGenericCodeObjectOption = "-mcode-object-version=6";

// For kernels of the SIMT machine, whose findings, stack traces and debuggers show source lines.
// They reach one memory by several types, as GPUs' compilers allow.
inline constexpr const char* kCc1LineOptions[] = {
    "-relaxed-aliasing",
    "-debug-info-kind=line-tables-only",
    "-dwarf-version=4",
    "-fdebug-compilation-dir=.",
};
inline constexpr const char* kCc1StepOptions[] = {
    "-relaxed-aliasing",           "-O0",
    "-debug-info-kind=standalone", "-dwarf-version=4",
    "-fdebug-compilation-dir=.",   "-mframe-pointer=all",
};

// #pragma comment(lib) would have lld look for files of this machine: --no-dependent-libraries.
inline constexpr const char* kLinkX86Options[] = {
    "-m",         "elf_x86_64",      "--no-dependent-libraries", "-shared",
    "-Bsymbolic", "--build-id=none", "--hash-style=gnu",         "-znow",
};
// Where no source line is asked for.
inline constexpr const char* kStripOption = "--strip-all";
inline constexpr const char* kLinkAmdGpuOptions[] = {
    "-m",      "elf64_amdgpu",    "--no-dependent-libraries",
    "-shared", "--build-id=none", "--no-undefined",
};

}  // namespace kiln
