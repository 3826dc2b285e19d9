#!/usr/bin/env bash
# Makes an environment from one lock, beside .venv, for tools that neither the service nor its tests need.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/environment.sh LOCK

Makes build/environments/LOCK from locks/LOCK.txt, hashes required, and prints where it is. Does nothing when the lock
has not changed.
TEXT
}

if [[ $# -ne 1 || "$1" == "-h" || "$1" == "--help" ]]; then
  usage
  [[ $# -eq 1 ]]
  exit
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock="locks/$1.txt" folder="build/environments/$1"
scripts/setup.sh
if ! cmp -s "$lock" "$folder/made-from.txt"; then
  rm -rf "$folder"
  .venv/bin/python -m venv "$folder" >&2
  "$folder/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --no-deps \
    --only-binary :all: -r "$lock" >&2
  cp "$lock" "$folder/made-from.txt"
fi
echo "$folder"
