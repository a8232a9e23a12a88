#!/bin/bash
# messages.sh ROOT: whether each message that docs/troubleshooting.md quotes, and each variable that
# docs/environment.md and the man page list, is in the source, and each variable of the source there.
set -eu
root=$1
failed=0
# String literals that stand side by side are one.
source=$(find "$root"/{jit,cache,runtime,templates,tools} -name '*.cpp' -exec cat {} + |
  tr '\n' ' ' | sed 's/" *"//g')
while IFS= read -r message; do
  grep -qF -- "$message" <<<"$source" || { echo "nothing says: $message" && failed=1; }
done < <(sed -n 's/^## `\(.*\)`$/\1/p' "$root/docs/troubleshooting.md")

variables() { grep -oh 'KILN_[A-Z_]*[A-Z]' "$@" | sort -u; }
read_by_code=$(sed -n 's/.*"\(KILN_[A-Z_]*\)".*/\1/p' "$root/runtime/options.cpp" | sort -u)
for page in docs/environment.md tools/definition/man_page.cpp docs/troubleshooting.md; do
  for name in $(variables "$root/$page"); do
    [ "$name" = KILN_VERSION ] && continue
    grep -qx "$name" <<<"$read_by_code" || { echo "$page: no code reads $name" && failed=1; }
  done
done
for name in $read_by_code; do
  grep -qF "\`$name\`" "$root/docs/environment.md" || {
    echo "docs/environment.md lacks $name" && failed=1
  }
done
exit $failed
