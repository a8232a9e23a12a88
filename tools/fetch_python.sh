#!/usr/bin/env bash
# Makes build/python-venv: a Python with what building and testing the module needs. Never fails:
# without nanobind, build/python-venv/why-not.txt says why and the module is not built; without torch
# or JAX the tests that need them are skipped. What is there is kept.
#
# torch is the real one of the Python registry, without the gigabytes of CUDA libraries that it is
# linked to: where those would be, empty ones satisfy the loader. They tell torch that there is no
# GPU; all that it does on the CPU is its own code.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
venv=build/python-venv
torch=torch==2.15.0
jax=jax==0.10.2
packages=('nanobind>=2.4' numpy pytest 'scikit-build-core>=0.10')

give_up() {
  mkdir -p $venv
  echo "$1" >$venv/why-not.txt
  echo "python: $1" >&2
  exit 0
}
pip() { timeout 600 $venv/bin/python -m pip --quiet --disable-pip-version-check "$@" 2>&1; }

# Defines what torch's libraries want of library $2, in the versions that they want it in, below $3.
stub() { # TORCH_LIB SONAME SCRATCH
  local lib=$1 soname=$2 scratch=$3 version
  : >"$scratch/map"; : >"$scratch/names"
  for version in $(awk -v from="$soname:" '/required from/ {on = ($3 == from); next}
      on && NF == 4 {print $4} NF != 4 {on = 0}' "$scratch"/*.needs | sort -u); do
    echo "$version { *; };" >>"$scratch/map"
    awk -F@ -v version="$version" 'NF > 1 && $NF == version {print $1}' "$scratch/undefined" \
      >>"$scratch/names"
  done
  if [ ! -s "$scratch/map" ]; then  # it has no versions, so what is whose cannot be told
    echo "{ global: *; };" >"$scratch/map"
    grep -E '^(cu|nccl|nvshmem)[A-Za-z0-9_]*$' "$scratch/undefined" >"$scratch/names"
  fi
  # 100 is cudaErrorNoDevice, and no library's word for success.
  sort -u "$scratch/names" | sed 's/.*/__attribute__((weak)) long &(void) { return 100; }/' \
    >"$scratch/stub.c"
  gcc -w -shared -fPIC -fno-builtin -o "$lib/$soname" "$scratch/stub.c" \
    -Wl,-soname,"$soname" -Wl,--version-script="$scratch/map"
}

stub_cuda() { # TORCH_LIB
  local lib=$1 scratch soname file
  scratch=$(mktemp -d)
  for file in "$lib"/lib*.so; do
    objdump -p "$file" >"$scratch/$(basename "$file").needs"
    nm -D --undefined-only "$file" | awk '{print $NF}'
  done | sort -u >"$scratch/undefined"
  awk '/NEEDED/ {print $2}' "$scratch"/*.needs | sort -u | grep -E '^lib(cu|nccl|nv)' |
    while read -r soname; do
      [ -e "$lib/$soname" ] || stub "$lib" "$soname" "$scratch"
    done
  rm -rf "$scratch"
}

if [ "$(cat $venv/made 2>/dev/null)" != "${packages[*]}" ]; then
  mkdir -p build
  [ -x $venv/bin/python ] || python3 -m venv $venv 2>/dev/null ||
    give_up "no virtual environment can be made (python3-venv)"
  why=$(pip install "${packages[@]}") ||
    give_up "${packages[*]} could not be fetched: $(tail -n 1 <<<"$why")"
  rm -f $venv/why-not.txt
  echo "${packages[*]}" >$venv/made
fi
if [ ! -f $venv/torch-made ]; then
  if why=$(pip install --no-deps "$torch") &&
    why=$(pip install filelock sympy networkx jinja2 fsspec typing_extensions 'setuptools>=77'); then
    stub_cuda "$(echo $venv/lib/python3*/site-packages/torch/lib)"
    why=$($venv/bin/python -c 'import torch' 2>&1) && touch $venv/torch-made
  fi
  [ -f $venv/torch-made ] || echo "python: no $torch: $(tail -n 1 <<<"$why")" >&2
fi
if [ ! -f $venv/jax-made ]; then
  if why=$(pip install "$jax") && why=$($venv/bin/python -c 'import jax' 2>&1); then
    touch $venv/jax-made
  else
    echo "python: no $jax: $(tail -n 1 <<<"$why")" >&2
  fi
fi
exit 0
