"""Migrates a database with Alembic."""

from collections.abc import Mapping

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import SQLAlchemyError

from kms_service.database_settings import DatabaseSettings
from kms_service.errors import MigrationFailed
from kms_service.store.postgres.connection import failures
from kms_service.store.postgres.connection.address import address
from kms_service.store.postgres.connection.login import login_of
from kms_service.store.postgres.schema import MIGRATIONS


async def login_for_migrations(settings: DatabaseSettings) -> dict[str, str]:
    """The libpq parameters of the login for migrations that do not come from DATABASE_URL; they are secret.

    Raises:
        MigrationFailed: the login is unavailable.
    """
    parameters = address(settings.database_url.get_secret_value())
    try:
        merged = await login_of(settings).merge(parameters)
    except psycopg.OperationalError as error:
        raise MigrationFailed(f"the database could not be migrated: {error}") from None
    return {name: value for name, value in merged.items() if parameters.get(name) != value}


def migrate(database_url: str, revision: str = "head", login: Mapping[str, str] | None = None) -> None:
    """Migrate a database to `revision`; safe to repeat, and to run from several places at once.

    Args:
        database_url: the value of DATABASE_URL.
        revision: the revision to stop at.
        login: what `login_for_migrations` returned, if the login does not come from the URL.

    Raises:
        MigrationFailed: PostgreSQL could not be reached, or refused; nothing of the failed step is left.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    config.attributes["login"] = login
    try:
        command.upgrade(config, revision)
    except (SQLAlchemyError, CommandError) as error:
        raise MigrationFailed(f"the database could not be migrated: {_reason(error)}") from error


def _reason(error: SQLAlchemyError | CommandError) -> str:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, LockNotAvailable):
        return (
            "another session, such as a long query or a backup, holds a lock on a table that must change; "
            "this step was undone: end that session or wait, and migrate again"
        )
    if isinstance(cause, psycopg.Error) and cause.sqlstate is None:
        return failures.reason(cause)  # about the connection; libpq has a line for each of several hosts
    return str(cause).strip().splitlines()[0]
