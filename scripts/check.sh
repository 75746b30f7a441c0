#!/usr/bin/env bash
# Sets up what is missing and checks lint, format and types.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=set_up.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/set_up.sh"
set_up dev
cd "$CHECKOUT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
