#!/bin/bash
# sh_blocks.sh PAGE: runs the page's ```sh blocks, one after the other in this folder, each as a
# script that ends at the first command that fails.
set -eu
page=$1
awk '/^```sh$/ { ++n; on = 1; print "echo \"'"$page"':" FNR "\"" > "block" n ".sh"; next }
     /^```/ { on = 0 }
     on { print > "block" n ".sh" }' "$page"
for ((n = 1; ; ++n)); do
  [ -e block$n.sh ] || break
  bash -eu -o pipefail block$n.sh
done
