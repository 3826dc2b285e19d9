"""`kms-service migrate`."""

import click

from kms_service.cli.lines import tell
from kms_service.cli.process.loop import run_on_loop
from kms_service.settings import load_database_settings
from kms_service.store.postgres import migrations


@click.command()
@click.option("--revision", default="head", show_default=True, help="Stop at this revision.")
def migrate(revision: str) -> None:
    """Migrate the database's schema to what this version needs; safe to repeat.

    Needs only the database's settings. The previous version works with the new schema, so run this first,
    then deploy.
    """
    settings = load_database_settings()
    login = run_on_loop(migrations.login_for_migrations(settings))
    migrations.migrate(settings.database_url.get_secret_value(), revision, login)
    tell("The schema is up to date.")
