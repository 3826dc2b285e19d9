#!/usr/bin/env bash
# Makes .venv from locks/develop.txt, hashes required, and installs this project into it (editable).
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/setup.sh

Makes .venv beside this project from locks/develop.txt. Needs Python 3.11 or later and a package index; PYTHON
names the interpreter when `python3` is not the right one. Does nothing when nothing has changed.
TEXT
}

fail() {
  echo "setup.sh: $1" >&2
  exit 1
}

say() { echo "setup: $1" >&2; }

if [[ $# -gt 0 ]]; then
  usage
  [[ "$1" == "-h" || "$1" == "--help" ]] || fail "unknown argument: $1"
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
project="$PWD"
stamp=".venv/setup.stamp"

# What .venv was made from: the inputs, its path (which its scripts contain) and the interpreter.
fingerprint() {
  .venv/bin/python -I - "$project" <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.argv[1], sys.version)).encode())
for name in ("locks/develop.txt", "pyproject.toml", "src/kms_service/__init__.py"):
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
}

unchanged() {
  local current
  [[ -f "$stamp" ]] && current="$(fingerprint 2>/dev/null)" && [[ "$current" == "$(<"$stamp")" ]]
}

if unchanged; then exit 0; fi

# Two at once would remove each other's work: the second waits, and then finds it done. macOS has no flock.
if command -v flock >/dev/null 2>&1; then
  exec 9<scripts/setup.sh
  flock -n 9 || { say "waiting for another setup to end" && flock 9; }
  if unchanged; then exit 0; fi
fi

is_python() {
  "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $2))" 2>/dev/null
}

# Versions for which every package of the lock has wheels come first; a newer one is used if there is no other.
find_python() {
  local candidate newest
  if [[ -n "${PYTHON:-}" ]]; then
    is_python "$PYTHON" 99 || fail "PYTHON=$PYTHON is not a Python 3.11 or later"
    command -v "$PYTHON"
    return
  fi
  for newest in 13 99; do
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
      if is_python "$candidate" "$newest"; then
        command -v "$candidate"
        return
      fi
    done
  done
  command -v python3 >/dev/null 2>&1 || fail "no python3 found: install Python 3.11 or later, or set PYTHON to it"
  fail "$(python3 --version 2>&1) is too old: install Python 3.11 or later, or set PYTHON to it"
}

# Shows progress while a quiet command runs, and its output only if it fails.
quietly() {
  local what="$1" log pid started=$SECONDS
  shift
  log="$(mktemp)"
  "$@" >"$log" 2>&1 &
  pid=$!
  # shellcheck disable=SC2064 # these values, not later ones
  trap "kill $pid 2>/dev/null; rm -f '$log'; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    [[ ! -t 2 ]] || printf '\rsetup: %s %ds ' "$what" $((SECONDS - started)) >&2
    sleep 0.2
  done
  trap - INT TERM
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  if ! wait "$pid"; then
    explain "$what" "$log"
  fi
  rm -f "$log"
  say "$what: $((SECONDS - started)) s"
}

explain() {
  local what="$1" log="$2" reason
  reason="$(grep -v '^WARNING: Retrying' "$log" | grep -E '[Ee]rror|ERROR' | tail -1 || true)"
  if grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|Temporary failure in name resolution' "$log"
  then
    reason="no package index can be reached"
  elif grep -q 'No matching distribution found' "$log"; then
    reason="no package index that can be reached has $(sed -n 's/.*No matching distribution found for //p' "$log" | tail -1)"
  elif grep -q 'ensurepip' "$log"; then
    reason="this Python cannot make virtual environments: install its venv module (Debian: python3-venv)"
  fi
  rm -f "$log"
  fail "$what failed: ${reason:-no reason given}"
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }

# --no-deps: the lock is complete, so nothing is left to resolve.
locked=(install --require-hashes --no-deps --only-binary :all:)

install_uv() {
  awk '/^[^ ]/ {ours = /^uv==/} ours' locks/develop.txt >.venv/uv.txt
  pip "${locked[@]}" -r .venv/uv.txt
}

# uv takes a third of pip's time, but does not read pip's configuration. A proxy or an index that only pip knows must
# still work, so pip is tried last. The hashes bind both.
install_packages() {
  local index="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null || true)}}"
  [[ -z "$index" ]] || export UV_DEFAULT_INDEX="$index"
  UV_SYSTEM_CERTS=1 .venv/bin/uv pip "${locked[@]}" --no-config --python .venv/bin/python -r locks/develop.txt ||
    pip "${locked[@]}" -r locks/develop.txt
}

install_project() { pip install --no-index --no-build-isolation --no-deps --editable .; }

# What the service imports is a fifth of what is installed; the rest is compiled when it is first used.
compile_service() {
  env -u PYTHONDONTWRITEBYTECODE .venv/bin/python - <<'PY'
import importlib, pkgutil, kms_service
for module in pkgutil.walk_packages(kms_service.__path__, "kms_service."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
PY
}

python="$(find_python)"
say "$("$python" --version) ($python)"
rm -rf .venv
quietly "virtual environment" "$python" -m venv .venv
quietly "installer from locks/develop.txt" install_uv
quietly "packages from locks/develop.txt" install_packages
quietly "kms-service" install_project
quietly "bytecode" compile_service
fingerprint >"$stamp"
say "done: .venv is ready"
