"""`kms-service local`, and how a command joins its session."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from kms_service.cli.lines import warn
from kms_service.laptop import LOCAL_FOLDER_VARIABLE

_MISSING = "the laptop mode is not installed: pip install 'kms-service[local]'"
_FOLDER = ".local"


@click.group(invoke_without_command=True)
@click.option(
    "--folder",
    envvar=LOCAL_FOLDER_VARIABLE,
    default=_FOLDER,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Where data, keys and the development token are kept; also {LOCAL_FOLDER_VARIABLE}.",
)
@click.pass_context
def local(context: click.Context, folder: Path) -> None:
    """Serve on this machine, with PostgreSQL from a wheel and a KMS stand-in whose keys survive restarts.

    Migrates, creates the pool's keys and a development token with all scopes, and prints commands to try. For
    laptops only: the KMS keys are in a file. Reads the environment, not .env. Other commands join it from
    another terminal with --local: kms-service --local pool status.
    """
    if context.invoked_subcommand is not None:
        return
    with _install():
        from kms_service.local.session import run  # noqa: PLC0415 - an optional extra
    sys.exit(run(folder, _say))


@local.command()
def demo() -> None:
    """Take a short tour, in a separate temporary session.

    Wallets, a signature, a key disabled under load, a rotation, a row that was tampered with, the emergency
    stop. On a terminal it keeps serving at the end, with the operator page, until Ctrl-C.
    """
    with _install():
        from kms_service.local.demo.run import run  # noqa: PLC0415 - an optional extra
    sys.exit(run(_say, stay=sys.stdout.isatty()))


@contextlib.contextmanager
def join_session() -> Iterator[None]:
    """Work on the laptop session while the context lasts, or on the data that it left if none is running.

    Raises:
        LocalError: there is neither, or its servers do not start.
        click.ClickException: the laptop mode is not installed.
    """
    folder = Path(os.environ.get(LOCAL_FOLDER_VARIABLE) or _FOLDER)
    with _install():
        from kms_service.local import joining  # noqa: PLC0415 - an optional extra
    with joining.join(folder) as running:
        _say(f"Using {'the laptop session' if running else 'the data of the laptop session'} in {folder}.")
        yield


@contextlib.contextmanager
def _install() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        raise click.ClickException(_MISSING) from None


def _say(line: str) -> None:
    warn(*line.split("\n"))
