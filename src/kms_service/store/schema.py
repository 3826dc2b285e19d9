"""The schema's version: what the code needs, what the database has, and how to close the gap."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import SQLAlchemyError

from kms_service.errors import MigrationFailed, SchemaBehind
from kms_service.store.database import Database

_INSTALLED = Path(__file__).parent.parent / "migrations"
_CHECKOUT = Path(__file__).parents[3] / "migrations"


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring a database to `revision`; safe to repeat, and to run from several places at once.

    Raises:
        MigrationFailed: PostgreSQL could not be reached or refused; nothing of the failed step is left.
    """
    config = _config()
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
    return str(cause).strip().splitlines()[0]


def check(database: Database) -> None:
    """Pass when the database is at this code's schema or past it.

    Raises:
        SchemaBehind: a migration is missing; the message names the command.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with database.connection() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    head, older = _revisions()
    # A revision that this code does not know comes from a newer one, and migrations stay usable for the old.
    if current is None or current in older:
        raise SchemaBehind(
            f"the database is at revision {current or 'none'}, this code needs {head}; "
            "run: kms-service migrate"
        )


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    script = ScriptDirectory.from_config(_config())
    head = str(script.get_current_head())
    return head, frozenset(known.revision for known in script.walk_revisions()) - {head}


def _config() -> Config:
    config = Config()
    location = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    return config
