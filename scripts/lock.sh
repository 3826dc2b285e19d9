#!/usr/bin/env bash
# Writes the locks from pyproject.toml: exact versions with hashes, for CPython 3.11 to 3.14. develop.txt holds
# everything; serve.txt, tracing.txt (serve.txt and the extra), local.txt (serve.txt and the laptop mode) and build.txt
# are parts of it, at the same versions. clients.txt is what the clients are tested with, docs.txt and workflows.txt are
# what scripts/docs.sh and scripts/lint-workflows.sh run.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/lock.sh [--upgrade | --upgrade-package NAME]

Resolves pyproject.toml into the files of locks/. Versions already locked stay,
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
    --output-file "$output" "$@"
  echo "$output: $(grep -c '==' "$output") packages"
}

compile locks/develop.txt --all-extras --group dev --group bench "$@" pyproject.toml
# What is tested is what is served.
compile locks/serve.txt --constraints locks/develop.txt "$@" pyproject.toml
compile locks/tracing.txt --constraints locks/develop.txt --extra tracing "$@" pyproject.toml
compile locks/local.txt --constraints locks/develop.txt --extra local "$@" pyproject.toml
compile locks/build.txt --constraints locks/develop.txt --group pyproject.toml:build "$@"
compile locks/clients.txt --constraints locks/develop.txt --group pyproject.toml:clients "$@"
compile locks/docs.txt --constraints locks/develop.txt --group pyproject.toml:docs "$@"
compile locks/workflows.txt --group pyproject.toml:workflows "$@"
