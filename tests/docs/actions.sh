#!/bin/bash
# actions.sh PAGE: runs the page's workflow for GitHub Actions, job by job and part by part, each in a
# folder of its own that stands for a runner: what `run` says is run, and what `uses` names is done
# to the files.
set -eu
page=$1
top=$PWD
mkdir artifacts
# One line for each thing that counts: KIND VALUE, with the job's env before its steps.
awk '/^```yaml$/ { on = 1; next } /^```/ { on = 0 } !on { next }
     /^  [a-z]+:$/ { sub(/:/, ""); print "job " $1; next }
     /^      matrix: / { gsub(/.*\[|\].*|,/, ""); print "parts " $0; next }
     /^      [A-Z_]+: / { sub(/^ */, ""); sub(/: /, "="); print "env " $0; next }
     /^      - run: / { sub(/^      - run: /, ""); print "run " $0; next }
     /^      - uses: / { print "uses " $3; next }
     /^        with: / { sub(/^        with: /, ""); print "with " $0; next }' "$page" >steps

# One run of a job: its lines, and the part that it is.
run_job() {
  local lines=$1 part=$2 kind value action=
  mkdir "$top/runner" && cd "$top/runner"
  (
    while read -r kind value; do
      value=${value//'${{ matrix.part }}'/$part}
      value=${value//'${{ github.workspace }}'/$PWD}
      case $kind in
      env) export "${value?}" ;;
      run)
        echo "+ $value"
        bash -e -o pipefail -c "$value"
        ;;
      uses)
        action=${value%@*}
        case $action in
        actions/checkout) cp "$top/config.json" . ;;
        actions/download-artifact) cp "$top"/artifacts/* . ;;
        actions/cache | actions/upload-artifact) ;; # the cache is a first run's, empty
        *) echo "$page: what does $action do?" && exit 1 ;;
        esac
        ;;
      with)
        [ "$action" = actions/upload-artifact ] || continue
        value=${value#*path: \"}
        cp "${value%%\"*}" "$top/artifacts/"
        ;;
      esac
    done <"$lines"
  )
  cd "$top" && rm -r runner
}

jobs=0
while read -r job; do
  awk -v job="$job" '$1 == "job" { on = $2 == job } on' steps >job
  for part in $(sed -n 's/^parts //p' job | grep . || echo none); do
    run_job "$top/job" "$part"
  done
  jobs=$((jobs + 1))
done < <(sed -n 's/^job //p' steps)
[ $jobs -ge 2 ] || { echo "$page: no workflow with several jobs" && exit 1; }
