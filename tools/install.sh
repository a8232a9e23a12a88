#!/usr/bin/env bash
# Installs what Kiln builds with from Debian's packages: skips what is there, asks nothing.
# LLVM 22 comes from Debian 12's security archive; where that is not to be had, 19 serves as well.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libfmt-dev libexpected-dev libsqlite3-dev libxxhash-dev
  libsodium-dev libzstd-dev libboost-context-dev libcli11-dev nlohmann-json3-dev libdlpack-dev
  libgtest-dev python3-dev python3-venv)

# For gfx*: hipRTC, comgr and their headers. For kernels in a debugger: gdb. Kiln builds and runs
# without, so a machine whose archive lacks them goes on, and the tests that need them are skipped.
# clang and its libFuzzer are for tools/soak.sh alone; zsh, fish and man read what jitctl makes for
# them.
optional=(libamdhip64-dev gdb clang-19 libclang-rt-19-dev zsh fish man-db)
# For tools/fetch_nvrtc.sh; without it, the tests of other NVRTC versions are skipped.
python3 -m pip --version >/dev/null 2>&1 || optional+=(python3-pip)

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

llvm_packages() { echo "llvm-$1-dev" "libclang-$1-dev" "liblld-$1-dev"; }

have_llvm() {
  local version package
  for version in 22 21 20 19; do
    for package in $(llvm_packages "$version"); do installed "$package" || continue 2; done
    return 0
  done
  return 1
}

missing=()
for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
missing_optional=()
for package in "${optional[@]}"; do installed "$package" || missing_optional+=("$package"); done
if [ ${#missing_optional[@]} -eq 0 ] && [ ${#missing[@]} -eq 0 ] && have_llvm; then
  echo "install: all packages are there"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install: run as root, or install sudo" >&2; exit 1; }
  as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }

apt update -qq
if ! have_llvm; then
  for version in 22 19; do
    if apt-cache show "llvm-$version-dev" >/dev/null 2>&1; then
      # shellcheck disable=SC2207
      missing+=($(llvm_packages "$version"))
      break
    fi
  done
fi
for package in "${missing_optional[@]}"; do
  if apt-cache show "$package" >/dev/null 2>&1; then
    missing+=("$package")
  else
    echo "install: no package $package here; what needs it is skipped" >&2
  fi
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
echo "install: ${missing[*]}"
apt install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
