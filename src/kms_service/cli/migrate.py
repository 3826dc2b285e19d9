"""`kms-service migrate`."""

import click

from kms_service.settings import load_database_url
from kms_service.store.postgres import migrations


@click.command()
@click.option("--revision", default="head", show_default=True, help="Stop at this revision.")
def migrate(revision: str) -> None:
    """Bring the database's schema to what this version needs; safe to repeat.

    Needs DATABASE_URL only. Migrations stay usable for the version before, so run this first, then deploy.
    """
    migrations.migrate(load_database_url(), revision)
    click.echo("The schema is up to date.")
