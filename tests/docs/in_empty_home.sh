#!/bin/bash
# in_empty_home.sh BIN CONFIG PROGRAM...: runs a program as a newcomer would: jitctl on the path, an
# empty home and cache, a model's config.json in the working folder, none of Kiln's variables but
# the one that names a borrowed LLVM plugin.
set -eu
bin=$1 config=$2
shift 2
for name in $(compgen -e KILN_); do
  [ "$name" = KILN_LLVM_LIBRARY ] || unset "$name"
done
unset XDG_CACHE_HOME XDG_CONFIG_HOME
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export HOME=$home PATH=$bin:$PATH
mkdir "$home/work"
cp "$config" "$home/work/config.json"
cd "$home/work"
"$@"
