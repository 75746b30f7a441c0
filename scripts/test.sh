#!/usr/bin/env bash
# Sets up what is missing and runs the tests: scripts/test.sh [pytest's arguments], e.g. -m slow, or tests/unit -x
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=set_up.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/set_up.sh"

# The tests of the pages drive a browser. Where there is none and it cannot be installed, they skip and say so.
install_chromium() {
    local name log=$CHECKOUT/checkpoints/chromium.log
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return; fi
    done
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
    note "installing chromium for the tests of the pages (log: $log)"
    local -x DEBIAN_FRONTEND=noninteractive
    local apt=(timeout 600 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=120)
    { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends chromium; } >"$log" 2>&1 </dev/null ||
        note "chromium could not be installed; the tests of the pages will be skipped"
}

set_up dev
install_chromium
cd "$CHECKOUT"
# two processes at a time, each with whole files, in which tests share what they have set up
exec "$PYTHON" -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder "$@"
