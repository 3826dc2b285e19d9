#!/usr/bin/env bash
# Cuts a release: version, changelog, packages, bills of materials, checksums, provenance.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/release.sh [VERSION] [--commit] [--python-only] [--into FOLDER]

  scripts/release.sh 1.2.0            what 1.2.0 would be: builds all of it and prints the hashes, changes nothing
  scripts/release.sh 1.2.0 --commit   commits the version and the changelog's section, makes the tag v1.2.0, builds
  scripts/release.sh                  builds the version that is checked out, as the release workflow does at a tag

Builds the committed files twice, with SOURCE_DATE_EPOCH from the commit, and refuses what comes out different: sdists
and wheels of the service and the Python client, npm's archive of the TypeScript client, the locks, bills of materials
(CycloneDX, SPDX) from the locks, the changelog's section, a provenance statement (in-toto, SLSA 1), SHA256SUMS. They go
to dist/VERSION, or to FOLDER; a dry run keeps them only in FOLDER. Never pushes: the last lines say what to run.

Needs git, and Node 20 or later with npm, unless --python-only leaves out the TypeScript client.
TEXT
}

for argument in "$@"; do
  if [[ "$argument" == "-h" || "$argument" == "--help" ]]; then
    usage
    exit 0
  fi
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
exec .venv/bin/python scripts/release/cut.py "$@"
