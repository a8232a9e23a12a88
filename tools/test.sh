#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: in release, under AddressSanitizer with
# UBSan, and, for the boxes that use threads, under ThreadSanitizer. The LLVM plugin is built once,
# in release, and used by all three: LLVM itself has no instrumentation, so a sanitizer would see
# nothing in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/install.sh
tools/fetch_nvrtc.sh
tools/fetch_python.sh
# install.sh brings these, so a test that cannot find one has failed and is not skipped.
export KILN_REQUIRE_COMPILERS=llvm
# LeakSanitizer crashes on the thread-local storage of libraries that were opened and closed.
export ASAN_OPTIONS=intercept_tls_get_addr=0
# A forked child may start threads of its own.
export TSAN_OPTIONS=die_after_fork=0

for preset in release asan-ubsan tsan; do
  printf '\n== %s ==\n' "$preset"
  python=()
  if [ "$preset" = release ] && [ ! -f build/python-venv/why-not.txt ]; then
    python=(-DKILN_BUILD_PYTHON=ON "-DPython_EXECUTABLE=$PWD/build/python-venv/bin/python")
  fi
  cmake --preset "$preset" -DKILN_BUILD_TESTS=ON "${python[@]}" >/dev/null
  cmake --build --preset "$preset"
  ctest --preset "$preset" -j2
  export KILN_LLVM_LIBRARY=$PWD/build/release/lib/libkiln_llvm.so
done
