"""Bringing a database to a schema, by Alembic."""

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import SQLAlchemyError

from kms_service.errors import MigrationFailed
from kms_service.store.postgres import failures
from kms_service.store.postgres.schema import MIGRATIONS


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring a database to `revision`; safe to repeat, and to run from several places at once.

    Raises:
        MigrationFailed: PostgreSQL could not be reached or refused; nothing of the failed step is left.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    try:
        command.upgrade(config, revision)
    except (SQLAlchemyError, CommandError) as error:
        raise MigrationFailed(f"the database could not be migrated: {_reason(error)}") from error


def _reason(error: SQLAlchemyError | CommandError) -> str:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, LockNotAvailable):
        return (
            "another session keeps a lock on a table that has to change, such as a long query or a backup; "
            "nothing of this step is left: end it or wait, and migrate again"
        )
    if isinstance(cause, psycopg.Error) and cause.sqlstate is None:
        return failures.reason(cause)  # of the connection: it has several lines for several hosts
    return str(cause).strip().splitlines()[0]
