#!/bin/bash
# fences.sh ROOT: whether something runs or compiles each code block of README.md and docs/, by its
# language; and whether what cannot run in a test is one of the few commands that are run otherwise.
set -eu
cd "$1"
failed=0
# The tests of all presets, the demo (docs_demo), the install of the Python module (python_install).
outside='^(tools/test\.sh|tools/demo\.sh|pip install \.)( |$)'
refuse() { echo "$page:$line: $1" && failed=1; }
for page in README.md docs/*.md docs/ops/*.md; do
  while IFS=$'\t' read -r line language text; do
    case $language in
    sh | cpp | python | '') ;; # sh_blocks.sh, cpp_blocks.awk, tests/python/test_guide.py; maths
    # tests/downstream and tests/tools take the first of each language from these.
    cmake) [[ $page =~ ^docs/(ci|engine)\.md$ ]] || refuse "who configures this?" ;;
    yaml | dockerfile) [ "$page" = docs/ci.md ] || refuse "who runs this?" ;;
    console) [[ -z $text || $text =~ $outside ]] || refuse "nothing runs '$text'" ;;
    *) refuse "nothing runs a block of '$language'" ;;
    esac
  done < <(awk 'function tell(text) { print FNR "\t" language "\t" text }
                /^```/ { on = !on; language = substr($0, 4); if (on) tell(""); next }
                on && language == "console" { tell($0) }' "$page")
done
exit $failed
