"""The terminal that commands draw on."""

import sys

from rich.console import Console

_PIPE_WIDTH = 120


def screen() -> Console:
    """Standard output: tables and colours on a terminal, plain text elsewhere."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def progress_screen() -> Console:
    """Standard error, for progress, so that standard output holds facts only."""
    return Console(file=sys.stderr, highlight=False)
