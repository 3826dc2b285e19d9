#!/usr/bin/env bash
# Sets up what is missing and runs all tests. Arguments go to pytest: scripts/test-kms.sh tests/unit -k envelope
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == "-h" || "${1:-}" == "--help" ]]; then
  echo "Usage: scripts/test-kms.sh [PYTEST ARGUMENT ...]"
  echo "Runs all tests on real PostgreSQL and KMS stand-ins; without arguments, with branch coverage and its threshold."
  exit 0
fi

scripts/setup.sh
if [[ $# -gt 0 ]]; then
  exec .venv/bin/python -m pytest "$@"
fi
rm -f .coverage .coverage.*
exec .venv/bin/python -m pytest -n "${TEST_PROCESSES:-2}" --dist loadgroup --cov --cov-report=term
