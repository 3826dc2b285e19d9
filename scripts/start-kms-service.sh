#!/usr/bin/env bash
# Installs what is missing, then serves.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/start-kms-service.sh [--local [--folder FOLDER]]

Installs what is missing into .venv and serves on port 3001.

Without --local: against AWS KMS and DATABASE_URL, from .env and the environment (.env.example explains every
setting). Does not migrate: run `.venv/bin/kms-service migrate` first.

With --local: needs no AWS account, no PostgreSQL and no settings. Starts a real PostgreSQL and a KMS stand-in, both
kept in .local (or FOLDER), migrates, makes keys and a development token, and prints the lines to try. For laptops.
TEXT
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  -h | --help)
    usage
    ;;
  --local)
    shift
    scripts/setup.sh
    exec .venv/bin/kms-service local "$@"
    ;;
  "")
    scripts/setup.sh
    exec .venv/bin/kms-service serve
    ;;
  *)
    usage >&2
    echo "start-kms-service.sh: unknown argument: $1" >&2
    exit 64
    ;;
esac
