#!/usr/bin/env bash
# One command: sets up what is missing, then edits, scores and reports. `./launch.sh --help` says more.
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source-path=SCRIPTDIR source=scripts/set_up.sh
. "$here/scripts/set_up.sh"

usage() {
    cat <<'USAGE'
usage: ./launch.sh [--config-dir FOLDER] [key=value ...]

Edits, scores and reports a benchmark, by default scenes with the nano models. Started again, it goes on with what is missing.

  ./launch.sh
  ./launch.sh run_name=mine editor=qwen_image_edit judge=qwen3_vl dataset.path=bench.json
  ./launch.sh dry_run=true ...            show what would be done, load nothing
  NPROC_PER_NODE=6 ./launch.sh ...        processes; by default one per GPU, or 2 without a GPU

Keys and their defaults are in conf/, their meanings in editbench/config/schema.py. Choices (group=choice):
USAGE
    local group file choices
    for group in "$CHECKOUT"/conf/*/; do
        choices=
        for file in "$group"*.yaml; do
            file=${file##*/}
            choices="$choices ${file%.yaml}"
        done
        group=${group%/}
        printf '  %s:%s\n' "${group##*/}" "$choices"
    done
}

# The last one counts, as for Hydra.
is_dry_run() {
    local argument answer=1
    for argument in "$@"; do
        case $argument in
            dry_run=[Tt]rue | dry_run=TRUE) answer=0 ;;
            dry_run=*) answer=1 ;;
        esac
    done
    return $answer
}

# Runs one phase. A terminal sends Ctrl-C to all processes at once, and every rank would answer with a traceback;
# so the phase ignores it, and this shell, which does not, ends the phase by SIGTERM.
phase=
run() {
    (
        trap '' INT HUP
        exec "$@"
    ) &
    phase=$!
    wait "$phase"
}

stop() {
    trap '' INT HUP TERM
    set +e # come what may: the terminal can be gone
    if [ -n "$phase" ]; then
        note "stopping after the images in progress"
        kill -TERM "$phase" 2>/dev/null
        wait "$phase"
    fi
    if [ -t 1 ]; then printf '\033[?25h\n'; fi # the cursor, which a progress bar hides
    note "stopped; the same command goes on from here"
    exit "$1"
}

for argument in "$@"; do
    case $argument in -h | --help)
        usage
        exit
        ;;
    esac
done

case ${NPROC_PER_NODE-} in
    *[!0-9]* | 0*) die "NPROC_PER_NODE=$NPROC_PER_NODE: must be a whole number, 1 or more" ;;
esac
# shellcheck disable=SC2119  # the arguments are not for it
set_up
# By default one per GPU that the overrides and CUDA let us use.
processes=${NPROC_PER_NODE:-$("$PYTHON" -m editbench.distributed.devices "$@")}
# The program sets its number of threads itself (distributed.cpu_threads); this keeps torchrun from warning of it.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
trap 'stop 130' INT
trap 'stop 129' HUP
trap 'stop 143' TERM

if is_dry_run "$@"; then
    # Only rank 0 has something to say, so it is the only one started.
    export RANK=0 LOCAL_RANK=0 WORLD_SIZE="$processes" LOCAL_WORLD_SIZE="$processes"
    for name in edit score report; do run "$PYTHON" -m "editbench.$name" "$@"; done
    exit
fi

run "$PYTHON" -m editbench.plan "$@"
for name in edit score; do
    note "phase $name on $processes processes"
    run "$PYTHON" "$CHECKOUT/scripts/torchrun.py" --standalone --nproc_per_node="$processes" \
        --signals-to-handle=SIGTERM --shutdown-timeout=60 -m "editbench.$name" "$@"
done
run "$PYTHON" -m editbench.report "$@"
