#!/usr/bin/env bash
# Builds the documents as a site.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/docs.sh build | serve | publish [--push]

  build    writes the site to build/site/html; a link that leads nowhere is an error
  serve    builds it and serves it on port 8000 of this machine, and again after a change of build/site/pages
  publish  commits it to the branch gh-pages, in a folder of its own: at a tag under MAJOR.MINOR, which becomes `latest`,
           elsewhere as `dev`. --push pushes that branch.

mkdocs-material and mike come from locks/docs.txt, in an environment of their own. The HTTP reference is made from
the OpenAPI document of this version, the pictures of the operator page by scripts/console_pictures.py.
TEXT
}

case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
  build | serve | publish) ;;
  *)
    usage >&2
    exit 2
    ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="$PWD/$(scripts/environment.sh docs)/bin"
export NO_MKDOCS_2_WARNING=1 # the banner of mkdocs-material, not a fault of a page
.venv/bin/python scripts/docs_site.py build/site/pages

# The released version that is checked out, or nothing.
released() {
  git describe --exact-match --match 'v*' 2>/dev/null | sed -nE 's/^v([0-9]+\.[0-9]+)\.[0-9]+$/\1/p'
}

case "$1" in
  build) "$tools/mkdocs" build --strict --quiet --config-file docs/mkdocs.yml ;;
  serve) "$tools/mkdocs" serve --config-file docs/mkdocs.yml ;;
  publish)
    PATH="$tools:$PATH" # mike calls mkdocs
    version="$(released)"
    git fetch --quiet origin gh-pages 2>/dev/null || true # there is none the first time
    if [[ -n "$version" ]]; then
      mike deploy --config-file docs/mkdocs.yml "${@:2}" --update-aliases "$version" latest
      mike set-default --config-file docs/mkdocs.yml "${@:2}" latest
    else
      mike deploy --config-file docs/mkdocs.yml "${@:2}" dev
    fi
    ;;
esac
