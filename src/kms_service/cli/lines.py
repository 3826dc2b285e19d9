"""What commands print: one line per argument; nothing in it begins another line or controls the terminal."""

import click

from kms_service.telemetry.printable import printable


def tell(*lines: str) -> None:
    """Print each argument as one line on standard output."""
    _print(lines, to_stderr=False)


def warn(*lines: str) -> None:
    """Print each argument as one line on standard error."""
    _print(lines, to_stderr=True)


def _print(lines: tuple[str, ...], *, to_stderr: bool) -> None:
    for line in lines:
        click.echo(printable(line), err=to_stderr)
