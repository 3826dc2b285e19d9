#!/usr/bin/env bash
# Writes locks/serve.txt (what the service runs with) and locks/develop.txt (that, the laptop mode, the
# development tools and what the benchmarks draw with) from pyproject.toml: exact versions with hashes, for
# CPython 3.11 to 3.14.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/lock.sh [--upgrade | --upgrade-package NAME]

Resolves pyproject.toml into locks/serve.txt and locks/develop.txt. Versions already locked stay,
unless pyproject.toml forbids them or an option asks for newer ones. Needs `uv` and a package index.
TEXT
}

if [[ "${1:-}" == "-h" || "${1:-}" == "--help" ]]; then
  usage
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv="${UV:-.venv/bin/uv}"
[[ -x "$uv" ]] || uv="$(command -v uv)" || {
  echo "lock.sh: uv is missing: run scripts/setup.sh first, or set UV to its path" >&2
  exit 1
}

compile() {
  local output="$1"
  shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
    --no-emit-package kms-service --output-file "$output" "$@" pyproject.toml
  echo "$output: $(grep -c '==' "$output") packages"
}

compile locks/serve.txt "$@"
# The same versions in both: what is tested is what is served.
compile locks/develop.txt --extra local --extra tracing --group dev --group bench --constraints locks/serve.txt "$@"
