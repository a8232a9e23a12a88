#!/bin/bash
# names.sh ROOT: whether the files, folders and tests that pages name in `code` are there: a file by
# its path from the page, from the root or from where its kind of file lies, or by its name alone.
set -eu
cd "$1"
failed=0
# What exists only where Kiln runs, is generated, or is yet to be written (`x_...`).
made='^(crashes/|lib/|bin/|kiln/variant\.h|(tests/jit/)?x_.*)$'

files=$(find . \( -name build -o -name 'build-*' -o -name .git -o -name out \) -prune -o -print)
pages=$(grep '\.md$' <<<"$files")
suites=$(grep -rhoE 'TEST(_F|_P)?\([A-Za-z0-9]+, *[A-Za-z0-9]+' tests --include=*.cpp --include=*.h |
  sed -E 's/.*\(//; s/, */./')
suites+=$'\n'$(grep -rhoE 'INSTANTIATE_TEST_SUITE_P\([A-Za-z0-9]+, *[A-Za-z0-9]+' tests |
  sed -E 's/.*, *//; s/$/./')

is_there() {
  local page=$1 name=${2%/} base
  for base in "$(dirname "$page")" . runtime/include templates/device runtime/include/kiln; do
    compgen -G "$base/$name" >/dev/null && return 0
  done
  # By its name alone, wherever it is.
  [[ $name != */* ]] && grep -qE "/$(sed 's/\./\\./g; s/\*/[^\/]*/g' <<<"$name")$" <<<"$files"
}

while IFS=$'\t' read -r page name; do
  [[ $name =~ $made ]] && continue
  if [[ $name =~ ^[A-Z][A-Za-z0-9]*[*]?[.][A-Z*][A-Za-z0-9*]*$ ]]; then
    # A suite and its tests, of which '*' stands for any.
    pattern=${name//./\\.}
    grep -qE "^${pattern//\*/[A-Za-z0-9]*}" <<<"$suites" || {
      echo "$page: no test $name" && failed=1
    }
  elif ! is_there "$page" "$name"; then
    echo "$page: no file $name" && failed=1
  fi
done < <(for page in $pages; do
  sed '/^```/,/^```/d' "$page" | grep -oE '`[^` ]+`' | tr -d '`' | sort -u | while read -r word; do
    # `a.{txt,json}` are two.
    for name in $(if [[ $word =~ ^[A-Za-z0-9_./-]*\{[A-Za-z0-9_,]+\}[A-Za-z0-9_.]*$ ]]; then
      eval "echo $word"; else printf '%s' "$word"; fi); do
      if [[ $name =~ ^[A-Za-z0-9_./*-]*[A-Za-z0-9_*]\.(cpp|h|cu|cc|sh|md|cmake|py|map|\*)$ ]] ||
        [[ $name =~ ^[a-z_]+(/[a-z_]+)*/$ ]] ||
        [[ $name =~ ^[A-Z][A-Za-z0-9]*[*]?[.][A-Z*][A-Za-z0-9*]*$ ]]; then
        printf '%s\t%s\n' "$page" "$name"
      fi
    done
  done
done)
exit $failed
