#!/usr/bin/env bash
# Sets up and runs the tests, in parallel, with branch coverage.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/test-kms.sh [PYTEST ARGUMENT...]

Sets up .venv and runs all tests on all processors, with branch coverage and its floor from pyproject.toml.
With arguments, they go to pytest, and the floor does not apply: scripts/test-kms.sh tests/unit -k envelope
TEXT
}

if [[ "${1:-}" == "-h" || "${1:-}" == "--help" ]]; then
  usage
  exit 0
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh

options=(--numprocesses auto --dist loadfile --no-loadscope-reorder --cov --cov-branch --cov-report term)
[[ $# -eq 0 ]] || options+=(--cov-fail-under 0)
exec .venv/bin/python -m pytest "${options[@]}" "$@"
