#!/usr/bin/env bash
# Builds the clients, and tests the builds against the service and a local chain.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/test-clients.sh [PYTEST ARGUMENT...]

Installs npm's packages as package-lock.json pins them, builds both clients, installs the artefacts into empty projects
and runs the tests marked `clients` there. Needs Node 20 or later with npm, and the registries of npm and PyPI; without
one of them it says so and runs nothing.
TEXT
}

skip() {
  echo "test-clients.sh: skipped: $1" >&2
  exit 0
}

if [[ "${1:-}" == "-h" || "${1:-}" == "--help" ]]; then
  usage
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
command -v npm >/dev/null 2>&1 || skip "npm is not on the path"
node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null || skip "there is no Node 20 or later"

# The stamp is the lock that the packages were installed from.
install_packages() {
  local stamp=node_modules/.installed-from log
  if cmp -s package-lock.json "$stamp"; then return; fi
  log="$(mktemp)"
  if ! npm ci --no-audit --no-fund --ignore-scripts >"$log" 2>&1; then
    grep -qE 'ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH' "$log" && skip "no npm registry can be reached"
    cat "$log" >&2
    exit 1
  fi
  rm -f "$log"
  cp package-lock.json "$stamp"
}

pushd clients/typescript >/dev/null
install_packages
npm run --silent build
popd >/dev/null
# In one process: to collect the tests and start a PostgreSQL costs more than a second one gains.
exec .venv/bin/python -m pytest -m clients tests/clients "$@"
