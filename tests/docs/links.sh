#!/bin/bash
# links.sh ROOT: whether each link of a page of the repository leads to a file, and where it names a
# heading, to one that the page has.
set -eu
cd "$1"
failed=0
# Headings as anchors: in lower case, without punctuation, '-' for a blank.
anchors() {
  sed -n '/^```/,/^```/d; s/^#\{1,6\} //p' "$1" | tr '[:upper:]' '[:lower:]' |
    sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}
while IFS=: read -r page link; do
  case $link in http://* | https://* | mailto:*) continue ;; esac
  file=${link%%#*} target=$page
  [ -z "$file" ] || target=$(dirname "$page")/$file
  if [ ! -e "$target" ]; then
    echo "$page: no file $file" && failed=1
  elif [[ $link == *'#'* ]] && ! anchors "$target" | grep -qx -- "${link#*#}"; then
    echo "$page: $target has no heading #${link#*#}" && failed=1
  fi
done < <(find . \( -name build -o -name 'build-*' -o -name .git -o -name out \) -prune -o \
  -name '*.md' -print | while IFS= read -r page; do
  sed '/^```/,/^```/d' "$page" | grep -o '\](\([^) ]*\))' | sed "s|^](\(.*\))\$|$page:\1|" || true
done)
exit $failed
