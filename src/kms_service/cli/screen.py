"""The terminal that commands draw on."""

import sys

from rich.console import Console


def screen() -> Console:
    """Standard output: tables and colours on a terminal, plain text elsewhere."""
    return Console(file=sys.stdout, highlight=False)


def progress_screen() -> Console:
    """Standard error, for progress, so that standard output holds facts only."""
    return Console(file=sys.stderr, highlight=False)
