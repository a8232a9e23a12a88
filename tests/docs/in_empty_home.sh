#!/bin/bash
# in_empty_home.sh BIN CONFIG PROGRAM...: runs a program as a newcomer would: jitctl on the path, an
# empty home and cache, in the working folder a model's config.json and a `server` that asks for one
# of the model's kernels, none of Kiln's variables but the one that names a borrowed LLVM plugin.
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
printf '#!/bin/sh\nexec jitctl run kda_decode H=8 HV=8 batch=2 --no-time\n' >server
chmod +x server
"$@"
