// SPDX-License-Identifier: Apache-2.0
// What Kiln always tells clang and lld. The plugin passes these on; the host puts them into the
// toolchain half of the key.
#pragma once

namespace kiln {

// For clang's own parser (-cc1), where most of the driver's defaults are off unless asked for.
inline constexpr const char* kCc1Options[] = {
    // clang-format off
    "-triple", "x86_64-unknown-linux-gnu",
    "-x", "c++",
    // Nothing of this machine is to be found by #include.
    "-nostdsysteminc", "-nostdinc++", "-nobuiltininc", "-I", ".",
    "-O3", "-vectorize-loops", "-vectorize-slp",
    // Explicit 512-bit vectors stay in one register; "generic" alone would not prefer less.
    "-tune-cpu", "generic", "-mprefer-vector-width=512",
    // Fused multiply-add, and nothing else of -ffast-math: it breaks exp of extreme arguments.
    "-ffp-contract=fast",
    "-mrelocation-model", "pic", "-pic-level", "2", "-fhalf-no-semantic-interposition",
    "-fvisibility=hidden", "-mframe-pointer=none",
    // What would need a runtime library: there is none.
    "-fno-rtti", "-fno-threadsafe-statics",
    "-fgnuc-version=4.2.1",
    // clang-format on
};

// After those: for kernels of the SIMT machine, whose findings, stack traces and debuggers show
// source lines. They reach one memory by several types, as GPUs' compilers allow.
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

inline constexpr const char* kLinkOptions[] = {
    // #pragma comment(lib) would have lld look for files of this machine.
    "--no-dependent-libraries", "-shared",          "-Bsymbolic",
    "--build-id=none",          "--hash-style=gnu", "-znow",
};
// Where no source line is asked for.
inline constexpr const char* kStripOption = "--strip-all";

}  // namespace kiln
