#!/usr/bin/env bash
# Sets up what the other scripts need: a Python environment, the tiny checkpoints and the demo benchmark.
#
#   scripts/set_up.sh [EXTRA]   sets up, and prints the path of the Python to use
#   . scripts/set_up.sh         gives a script set_up and find_python, which leave that path in PYTHON
#
# An active virtual or conda environment is used if it has what pyproject.toml asks for. Otherwise it is .venv in
# the checkout, with the versions of constraints.txt. With nothing to do it takes a moment and says nothing.

CHECKOUT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$CHECKOUT/.venv
VENV_STAMP=$VENV/editbench-stamp  # "installing", or of what the finished installation was made
TINY=$CHECKOUT/checkpoints/tiny
DEMO=$CHECKOUT/data/demo
SCENES=$CHECKOUT/data/scenes

note() { printf 'editbench: %s\n' "$*" >&2; }

die() {
    note "$*"
    exit 1
}

# quietly LOG COMMAND…: the command's output goes to LOG; if it fails, the end of LOG is shown.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    note "set-up failed; the whole output is in $log"
    return 1
}

# find_python [EXTRA]: sets PYTHON to the interpreter to use; fails if .venv must be installed before.
find_python() {
    local folder lacks
    # Takes precedence over an installed editbench, and an environment without it needs nothing else.
    export PYTHONPATH="$CHECKOUT${PYTHONPATH:+:$PYTHONPATH}"
    for folder in "${VIRTUAL_ENV-}" "${CONDA_PREFIX-}"; do
        PYTHON=$folder/bin/python
        if [ -z "$folder" ] || [ ! -x "$PYTHON" ] || [ "$folder" -ef "$VENV" ]; then continue; fi
        lacks=$("$PYTHON" "$CHECKOUT/scripts/check_environment.py" "$CHECKOUT/pyproject.toml" "$@" 2>/dev/null) ||
            lacks="a Python that works"
        [ -n "$lacks" ] || return 0
        note "the active environment $folder lacks $lacks; using $VENV"
    done
    PYTHON=$VENV/bin/python
    venv_is_ready
}

# set_up [EXTRA]: find_python, after which everything is there. EXTRA names optional dependencies that an active
# environment must have as well; .venv always has all of them.
set_up() {
    local ready=yes
    find_python "$@" || ready=
    if [ -n "$ready" ] && tiny_is_ready && demo_is_ready; then return; fi
    mkdir -p "$CHECKOUT/checkpoints"
    # A second start waits for the first, and then finds things done. (macOS has no flock: there it is not held up.)
    (
        cd "$CHECKOUT" || exit 1
        if command -v flock >/dev/null && ! flock -n 9; then
            note "waiting for another set-up of this checkout to end"
            flock 9
        fi
        if [ "$PYTHON" = "$VENV/bin/python" ] && ! venv_is_ready; then install_venv || exit 1; fi
        if ! tiny_is_ready; then build_tiny || exit 1; fi
        if ! demo_is_ready; then build_demo || exit 1; fi
    ) 9>>"$CHECKOUT/checkpoints/.set_up.lock" || exit 1
}

# The checkout's path is part of it: an editable installation holds it, so a moved checkout is installed anew.
venv_fingerprint() {
    { printf '%s\n' "$CHECKOUT" && cat "$CHECKOUT/pyproject.toml" "$CHECKOUT/constraints.txt"; } | cksum
}

venv_is_ready() {
    [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV_STAMP" 2>/dev/null)" = "$(venv_fingerprint)" ]
}

install_venv() {
    local base
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV_STAMP" 2>/dev/null)" != installing ]; then
        note "bringing $VENV up to date (log: $VENV/install.log)"
    else
        base=$(base_python) || return 1
        note "installing $VENV: 6 GB, some minutes (log: $VENV/install.log)"
        rm -rf "$VENV"
        mkdir "$VENV" || return 1
        echo installing >"$VENV_STAMP"
        quietly "$VENV/install.log" "$base" -m venv "$VENV" || return 1
    fi
    echo installing >"$VENV_STAMP"
    # pip that fails leaves every package whole, so the next start goes on from there; pip that was killed does not.
    if ! quietly "$VENV/install.log" "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
        --progress-bar off -c constraints.txt -e '.[dev]'; then
        rm -f "$VENV_STAMP"
        return 1
    fi
    venv_fingerprint >"$VENV_STAMP"
}

# Prints the first Python on PATH that can make the environment.
base_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13 python3.14; do
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    note "Python 3.11 or newer with its venv module is needed, and none of python3, python3.11 to python3.14 is that" \
        "(on Debian and Ubuntu: apt install python3 python3-venv)"
    return 1
}

tiny_fingerprint() { { cat "$CHECKOUT/scripts/make_tiny_checkpoints.py" && ls "$TINY"; } 2>/dev/null | cksum; }

tiny_is_ready() { [ "$(cat "$TINY/.stamp" 2>/dev/null)" = "$(tiny_fingerprint)" ]; }

build_tiny() {
    note "building the tiny checkpoints in $TINY"
    mkdir -p "$TINY"
    quietly "$CHECKOUT/checkpoints/tiny.log" "$PYTHON" "$CHECKOUT/scripts/make_tiny_checkpoints.py" "$TINY" || return 1
    tiny_fingerprint >"$TINY/.stamp"
}

demo_is_ready() { is_packed "$DEMO/demo.json" && is_packed "$SCENES/scenes.json"; }

# is_packed FILE: whether the benchmark file is newer than what it is made of.
is_packed() {
    [ -f "$1" ] && [ -z "$(find "${1%/*}" "$CHECKOUT/scripts/pack_benchmark.py" -type f -newer "$1")" ]
}

build_demo() {
    local file
    for file in "$DEMO/demo.json" "$SCENES/scenes.json"; do
        is_packed "$file" && continue
        note "packing the benchmark $file"
        quietly "$CHECKOUT/checkpoints/demo.log" \
            "$PYTHON" "$CHECKOUT/scripts/pack_benchmark.py" "${file%/*}/records.json" "$file" || return 1
    done
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    set_up "$@"
    printf '%s\n' "$PYTHON"
fi
