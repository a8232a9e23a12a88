#!/usr/bin/env bash
# Kiln's main job on a real model, from a fresh clone, on a machine with no GPU: installs what is
# missing, builds a release, compiles the model's kernels into an empty cache, checks in a second
# process that nothing needs compiling any more, and runs a kernel against its fp64 reference.
# demo.sh BIN: the same by the programs in that folder, which are built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${1:-build/release/bin}
if [ $# -eq 0 ]; then
  tools/install.sh
  cmake --preset release -DKILN_BUILD_TESTS=OFF -DKILN_BUILD_BENCH=OFF >/dev/null
  cmake --build --preset release --target jitctl kiln_plugins
fi

config=tests/data/kimi-linear-48b-a3b.config.json
archs=sm_90a,gfx90a,cpu
KILN_CACHE_DIR=$(mktemp -d)
export KILN_CACHE_DIR
trap 'rm -rf "$KILN_CACHE_DIR"' EXIT

jitctl() {
  printf '\n$ jitctl %s\n' "$*"
  "$bin/jitctl" "$@"
}

jitctl doctor
jitctl prewarm --config "$config" --tp 4 --arch "$archs" --skip-unavailable
jitctl prewarm --config "$config" --tp 4 --arch "$archs" --skip-unavailable --check
jitctl run kda_decode --arch cpu
for op in kda_prefill attention_decode attention_prefill router_gemm qk_rmsnorm; do
  jitctl run "$op" --arch cpu --seconds 0.2
done
jitctl run kda_decode H=2 HV=2 batch=2 --arch simt --check --no-time
jitctl stats
