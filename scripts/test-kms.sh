#!/usr/bin/env bash
# Sets up and runs the tests, in parallel; with --coverage under branch coverage, with --fast the quick ones only.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/test-kms.sh [--coverage | --fast] [PYTEST ARGUMENT...]

Sets up .venv and runs all tests on all processors. With --coverage, which takes longer, also measures
branch coverage, in every process but of the tests that tests/measuring.py names, and fails below the floor in
pyproject.toml. With --fast it leaves out every test that needs PostgreSQL or a process of its own, and takes less
than a minute.
Other arguments go to pytest, and the floor does not apply: scripts/test-kms.sh tests/unit -k envelope
TEXT
}

measured=false
# Two processes a processor: half of their time is waiting, for servers, locks and time-outs.
processes=$((2 * $(getconf _NPROCESSORS_ONLN)))
options=(--numprocesses "$processes" --dist loadfile --no-loadscope-reorder)
case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
  --fast)
    shift
    options+=(-m fast)
    ;;
  --coverage)
    shift
    measured=true
    ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
# Tests start the service some hundred times: each start would compile it anew.
unset PYTHONDONTWRITEBYTECODE
"$measured" || exec .venv/bin/python -m pytest "${options[@]}" "$@"

rm -f .coverage .coverage.*
result=0
.venv/bin/python -m coverage run -m pytest "${options[@]}" "$@" || result=$?
.venv/bin/python -m coverage combine --quiet
if [[ $# -eq 0 ]]; then .venv/bin/python -m coverage report; else .venv/bin/python -m coverage report --fail-under 0; fi
exit "$result"
