"""The terminal that commands draw on."""

import sys

from rich.console import Console
from rich.text import Text

from kms_service.telemetry.printable import printable

_PIPE_WIDTH = 120


def screen() -> Console:
    """Standard output: tables and colours on a terminal, plain text elsewhere."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def progress_screen() -> Console:
    """Standard error, for progress, so that standard output holds facts only."""
    return Console(file=sys.stderr, highlight=False)


def safe_text(text: str, style: str = "") -> Text:
    """`text` as part of a line; nothing in it controls the terminal or counts as rich's markup."""
    return Text(printable(text), style)
