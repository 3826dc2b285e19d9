#!/usr/bin/env bash
# Lints the workflows of GitHub Actions and the forms beside them.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/lint-workflows.sh

Runs zizmor (without asking GitHub), actionlint with shellcheck, and check-jsonschema with the schemas that it ships, from
locks/workflows.txt.
TEXT
}

if [[ $# -gt 0 ]]; then
  usage
  [[ "$1" == "-h" || "$1" == "--help" ]]
  exit
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="$(scripts/environment.sh workflows)/bin"
PATH="$PWD/.venv/bin:$PATH" # actionlint looks for shellcheck there

schema() {
  "$tools/check-jsonschema" --builtin-schema "vendor.$1" "${@:2}"
}

"$tools/zizmor" --offline --quiet .
"$tools/actionlint"
schema github-workflows .github/workflows/*.yml
schema dependabot .github/dependabot.yml
schema github-issue-config .github/ISSUE_TEMPLATE/config.yml
for form in .github/ISSUE_TEMPLATE/*.yml; do
  [[ "$form" == */config.yml ]] || schema github-issue-forms "$form"
done
