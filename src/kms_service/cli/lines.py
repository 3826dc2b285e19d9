"""What commands print: an argument a line, of which nothing begins another or is obeyed by a terminal."""

import click

from kms_service.telemetry.printable import printable


def tell(*lines: str) -> None:
    """Print each on a line of its own, to standard output."""
    _print(lines, to_stderr=False)


def warn(*lines: str) -> None:
    """Print each on a line of its own, to standard error."""
    _print(lines, to_stderr=True)


def _print(lines: tuple[str, ...], *, to_stderr: bool) -> None:
    for line in lines:
        click.echo(printable(line), err=to_stderr)
