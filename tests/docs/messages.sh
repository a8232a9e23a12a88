#!/bin/bash
# messages.sh ROOT: whether each message that docs/troubleshooting.md quotes is in the source, and
# whether the variables, exit codes and counters that the pages list are those of the source.
set -eu
root=$1
failed=0
# String literals that stand side by side are one.
source=$(find "$root"/{jit,cache,runtime,templates,tools} -name '*.cpp' -exec cat {} + |
  tr '\n' ' ' | sed 's/" *"//g')
while IFS= read -r message; do
  grep -qF -- "$message" <<<"$source" || { echo "nothing says: $message" && failed=1; }
done < <(sed -n 's/^## `\(.*\)`$/\1/p' "$root/docs/troubleshooting.md")

# The environment is read in three places: by Options, where the loader's search is repeated, and
# where output is coloured. Whatever names a variable there is in the table, and the other way round.
readers="runtime/options.cpp jit/base/library_search.cpp tools/page.cpp"
sources=(--include=*.cpp --include=*.h)
product=$(cd "$root" &&
  grep -rlE '\bgetenv\(' jit cache runtime templates tools "${sources[@]}" | sort | tr '\n' ' ')
[ "$product" = "$(tr ' ' '\n' <<<"$readers" | sort | tr '\n' ' ')" ] || {
  echo "the environment is read in: $product" && failed=1
}
# An upper-case literal with a '_' in it, or one of the short names that every system has.
names='"([A-Z][A-Z0-9]*(_[A-Z0-9]+)+|HOME|PATH|TERM)"'
read_by_code=$(cd "$root" && grep -ohE "$names" $readers | tr -d '"' | sort -u)
[ "$(wc -l <<<"$read_by_code")" -ge 35 ] || { echo "too few: $read_by_code" && failed=1; }
read_by_tests=$(
  grep -rhoE 'getenv\("KILN_[A-Z_]*"|"KILN_(SOAK|FUZZ)_[A-Z_]*"' "$root/tests" "${sources[@]}" |
    grep -oE 'KILN_[A-Z_]*' | grep -v KILN_BAD_WORKER | sort -u
)
documented=$(grep -oE '`[A-Z][A-Z0-9_]+`' "$root/docs/environment.md" | tr -d '`' | sort -u)
for name in $read_by_code $read_by_tests; do
  grep -qx "$name" <<<"$documented" || { echo "docs/environment.md lacks $name" && failed=1; }
done
for name in $documented; do
  grep -qx "$name" <<<"$read_by_code"$'\n'"$read_by_tests" || {
    echo "docs/environment.md: no code reads $name" && failed=1
  }
done
man=$root/tools/definition/man_page.cpp
for name in $(grep -x 'KILN_.*' <<<"$read_by_code"); do
  grep -qE "\b$name\b" "$man" || { echo "the man page lacks $name" && failed=1; }
done
for page in tools/definition/man_page.cpp docs/troubleshooting.md docs/operator.md docs/ci.md \
  docs/engine.md docs/kernel-author.md docs/python.md docs/formats.md README.md; do
  for name in $(grep -ohE '\bKILN_[A-Z_]*[A-Z]' "$root/$page" | sort -u); do
    [ "$name" = KILN_VERSION ] && continue
    grep -qx "$name" <<<"$read_by_code" || { echo "$page: no code reads $name" && failed=1; }
  done
done

# Exit codes and counters are those of the code.
codes=$(sed -n '/^enum class ExitCode/,/^}/s/.*= \([0-9]\),.*/\1/p' "$root/tools/session.h" | sort)
told=$(sed -n 's/^| \([0-9]\) |.*/\1/p' "$root/docs/exit-codes.md" | sort)
said=$(sed -n '/kExitCodes/,/};/p' "$man" | grep -oE '\{"[0-9]"' | tr -d '{"' | sort)
[ "$codes" = "$told" ] && [ "$told" = "$said" ] || {
  echo "exit codes: the code has" $codes", the page" $told", the man page" $said && failed=1
}
counters=$(sed -n 's/.*{"\([a-z_]*\)", &Counters.*/\1/p' "$root/runtime/counters.cpp" | sort)
told=$(sed -n '/^| counter/,/^$/p' "$root/docs/exit-codes.md" | cut -d'|' -f2 |
  grep -oE '`[a-z_]+`' | tr -d '`' | sort)
[ "$counters" = "$told" ] || {
  echo "counters that are in one of code and docs/exit-codes.md:" && failed=1
  comm -3 <(echo "$counters") <(echo "$told")
}
exit $failed
