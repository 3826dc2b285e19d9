#!/usr/bin/env bash
# Prints the database's URL; scripts/database_url.py says where it comes from.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
"$here/setup.sh"
exec "$here/../.venv/bin/python" "$here/database_url.py" "$@"
