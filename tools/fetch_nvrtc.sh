#!/usr/bin/env bash
# Fetches real NVRTCs of other versions for the tests, from NVIDIA's wheels in the Python registry:
# build/nvrtc/VERSION/ then holds the libraries, or why-not.txt. Never fails: where the registry
# cannot be reached, the tests of that version are skipped with the reason. What is there is kept.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# The oldest that Kiln serves; one that knows sm_90a and nothing newer; the last of CUDA 12.
wheels=(11.8.89=nvidia-cuda-nvrtc-cu11 12.1.105=nvidia-cuda-nvrtc-cu12
  12.9.86=nvidia-cuda-nvrtc-cu12)

fetch() { # VERSION PACKAGE FOLDER
  local scratch output
  scratch=$(mktemp -d)
  if output=$(timeout 300 python3 -m pip download --quiet --no-deps --only-binary :all: \
    --dest "$scratch" "$2==$1" 2>&1); then
    output=$(python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel" 2>&1) &&
      mkdir -p "$3.part" &&
      output=$(mv "$scratch"/wheel/nvidia/cuda_nvrtc/lib/*.so* "$3.part" 2>&1) &&
      mv -T "$3.part" "$3"
  fi
  local status=$?
  rm -rf "$scratch"
  [ $status -eq 0 ] && [ -d "$3" ] && return 0
  mkdir -p "$3"
  echo "$2==$1 could not be fetched: $(tail -n 1 <<<"${output:-no reason given}")" >"$3/why-not.txt"
}

for wheel in "${wheels[@]}"; do
  version=${wheel%%=*}
  folder=build/nvrtc/$version
  compgen -G "$folder/libnvrtc.so.*" >/dev/null && continue
  rm -rf "$folder" "$folder.part"
  mkdir -p build/nvrtc
  fetch "$version" "${wheel#*=}" "$folder"
  if [ -f "$folder/why-not.txt" ]; then
    echo "nvrtc: $(cat "$folder/why-not.txt")" >&2
  else
    echo "nvrtc: $version is in $folder"
  fi
done
exit 0
