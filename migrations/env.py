"""Runs migrations one process at a time, with lock and statement time-outs."""

import os

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, text

from kms_service.store.postgres.database import sqlalchemy_url
from kms_service.store.postgres.tables import metadata

_ONE_AT_A_TIME = 0x6B6D735F6D696772  # "kms_migr": the key of an advisory lock


def _url() -> str:
    return str(context.config.attributes.get("database_url") or os.environ["DATABASE_URL"])


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


# A waiting ALTER TABLE blocks every later reader of the table: give up early instead.
_TIMEOUTS = "-c lock_timeout=5s -c statement_timeout=15min"

engine = create_engine(
    sqlalchemy_url(_url()), poolclass=NullPool, hide_parameters=True, connect_args={"options": _TIMEOUTS}
)
with engine.connect() as lock, engine.connect() as connection:
    lock.execute(text("SET lock_timeout = 0"))  # another process's migrations may take their time
    lock.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ONE_AT_A_TIME})
    _migrate(connection)
