"""`kms-service local`."""

import sys
from pathlib import Path

import click

_MISSING = "the laptop mode is not installed: pip install 'kms-service[local]'"


@click.command()
@click.option(
    "--folder",
    envvar="KMS_SERVICE_LOCAL_DIR",
    default=".local",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data, keys and the development token lie; also KMS_SERVICE_LOCAL_DIR.",
)
def local(folder: Path) -> None:
    """Serve with nothing else installed: PostgreSQL from a wheel and a KMS stand-in whose keys last.

    Migrates, makes the pool's keys and a development token with all scopes, and prints lines to try. For
    laptops only: the KMS keys are in a file. Reads the environment, not .env.
    """
    try:
        from kms_service.local.session import run  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise click.ClickException(_MISSING) from None
    sys.exit(run(folder, lambda line: click.echo(line, err=True)))
