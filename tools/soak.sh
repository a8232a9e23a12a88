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

sections=(store_kills store_damage store_opens hiprtc worker_kills)

for section in "${@:-${sections[@]}}"; do
  case " ${sections[*]} " in
    *" $section "*) printf '\n== %s ==\n' "$section"; "soak_$section" ;;
    *) echo "soak: no section '$section'; there are: ${sections[*]}" >&2; exit 2 ;;
  esac
done
