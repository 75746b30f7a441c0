#!/usr/bin/env bash
# Sets up what is missing and runs the tests: scripts/test.sh [pytest's arguments], e.g. -m slow, or tests/unit -x
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=set_up.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/set_up.sh"
set_up dev
cd "$CHECKOUT"
# two processes at a time, each with whole files, in which tests share what they have set up
exec "$PYTHON" -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder "$@"
