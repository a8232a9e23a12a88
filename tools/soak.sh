#!/usr/bin/env bash
# The long runs that the test suite takes a sample of, by section:
#   tools/soak.sh [SECTION...]        default: all; needs a release build with tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=build/release/bin

# Processes that put, get, evict and vacuum one store, killed at any moment.
soak_store_kills() {
  KILN_SOAK_KILL_ROUNDS=1000 "$bin/kiln_cache_tests" --gtest_filter='StoreKills.*'
}

# Bits flipped anywhere in a store's file.
soak_store_damage() {
  KILN_SOAK_FLIP_ROUNDS=1000 "$bin/kiln_cache_tests" --gtest_filter='StoreDamage.BitFlips*'
}

# Opening, using and closing a store from 16 threads.
soak_store_opens() {
  KILN_SOAK_OPENS=10000 "$bin/kiln_cache_tests" --gtest_filter='StoreOpens.*'
}

# 1,000 compiles by hipRTC, which is not thread-safe, from 8 threads: none fails, all are the same.
soak_hiprtc() {
  KILN_SOAK_COMPILES=1000 KILN_REQUIRE_COMPILERS=hiprtc \
    "$bin/kiln_jit_tests" --gtest_filter='IsolatedHiprtc.ManyCompilesFromEightThreads'
}

# Workers that are killed at any moment of their work.
soak_worker_kills() {
  KILN_SOAK_KILLS=300 KILN_REQUIRE_COMPILERS=hiprtc \
    "$bin/kiln_jit_tests" --gtest_filter='IsolatedHiprtc.WorkersKilledAtAnyMoment'
}

# A clang that has libFuzzer and knows the levels of x86-64 (Debian's 14 does not).
fuzzing_clang() {
  local name
  for name in clang++-22 clang++-21 clang++-20 clang++-19 clang++; do
    if printf '%s\n' 'extern "C" int LLVMFuzzerTestOneInput(const char*, long) {' \
      'return __builtin_cpu_supports("x86-64-v2") ? 0 : -1; }' |
      "$name" -fsanitize=fuzzer -x c++ - -o /dev/null 2>/dev/null; then
      echo "$name"
      return 0
    fi
  done
  return 1
}

# KILN_FUZZ_RUNS inputs, by default a million, for each reader of what others wrote, under
# AddressSanitizer and UBSan: by libFuzzer where clang has it, else by the tests' own mutator.
soak_fuzz() {
  local runs=${KILN_FUZZ_RUNS:-1000000} target corpus clang
  local cmake=(cmake -S . -G Ninja -DCMAKE_BUILD_TYPE=None "-DCMAKE_CXX_FLAGS=-O1 -g1"
    "-DKILN_SANITIZE=address,undefined" -DKILN_BUILD_LLVM=OFF -DKILN_BUILD_TOOLS=OFF
    -DKILN_BUILD_BENCH=OFF -DKILN_TEST_BOXES=fuzz)
  if clang=$(fuzzing_clang); then
    "${cmake[@]}" -B build/fuzz -DCMAKE_CXX_COMPILER="$clang" -DKILN_FUZZER=ON >/dev/null
    cmake --build build/fuzz --target kiln_fuzzer
    for target in bundle record request; do
      corpus=build/fuzz/corpus/$target
      mkdir -p "$corpus"
      KILN_FUZZ_TARGET=$target KILN_FUZZ_SEEDS=$corpus build/fuzz/bin/kiln_fuzzer -runs=0 \
        "$corpus" 2>/dev/null
      KILN_FUZZ_TARGET=$target build/fuzz/bin/kiln_fuzzer -runs="$runs" -max_len=4096 \
        -rss_limit_mb=2048 -timeout=10 -artifact_prefix=build/fuzz/ -verbosity=0 -print_funcs=0 \
        -print_final_stats=1 "$corpus"
      echo "fuzz $target: $runs inputs, clean"
    done
  else
    "${cmake[@]}" -B build/fuzz-tests >/dev/null
    cmake --build build/fuzz-tests --target kiln_fuzz_tests
    KILN_FUZZ_RUNS=$runs build/fuzz-tests/bin/kiln_fuzz_tests
  fi
}

# Registers, spills and stack of every shape of kda_decode on every GPU arch.
soak_kda_shapes() {
  KILN_SOAK_KDA_SHAPES=1 "$bin/kiln_templates_tests" --gtest_filter='*KdaDecodeCompile.*'
}

sections=(store_kills store_damage store_opens hiprtc worker_kills kda_shapes fuzz)

for section in "${@:-${sections[@]}}"; do
  case " ${sections[*]} " in
    *" $section "*) printf '\n== %s ==\n' "$section"; "soak_$section" ;;
    *) echo "soak: no section '$section'; there are: ${sections[*]}" >&2; exit 2 ;;
  esac
done
