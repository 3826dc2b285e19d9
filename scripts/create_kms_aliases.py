#!/usr/bin/env python3
"""Make the pool's KMS keys and aliases: `kms-service pool create-aliases`, with .venv set up first."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COMMAND = PROJECT / ".venv" / "bin" / "kms-service"


def main() -> None:
    """Set up, then become the command; its options and exit codes are this script's."""
    os.chdir(PROJECT)  # where .env is
    code = subprocess.run([PROJECT / "scripts" / "setup.sh"], check=False).returncode  # noqa: S603 - our own
    if code != 0:
        sys.exit(code)
    os.execv(COMMAND, [str(COMMAND), "pool", "create-aliases", *sys.argv[1:]])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
