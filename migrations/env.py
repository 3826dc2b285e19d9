"""Runs migrations, one process at a time, with time-outs for locks and statements."""

from functools import partial

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, event, text

from kms_service.settings import load_database_settings
from kms_service.store.postgres.connection.dialling import connect_for_migrations
from kms_service.store.postgres.tables import metadata

_ONE_AT_A_TIME = 0x6B6D735F6D696772  # "kms_migr": the key of an advisory lock


def _url() -> str:
    given: str | None = context.config.attributes.get("database_url")
    return given or load_database_settings().database_url.get_secret_value()


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


# A waiting ALTER TABLE blocks every later reader of the table, so give up early. LOCAL, since behind a pooler
# only the transaction is certain to be ours.
_TIMEOUTS = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '15min'"


def _limit(connection: Connection) -> None:
    connection.exec_driver_sql(_TIMEOUTS)


engine = create_engine(
    "postgresql+psycopg://",
    creator=partial(connect_for_migrations, _url(), context.config.attributes.get("login") or {}),
    poolclass=NullPool,
    hide_parameters=True,
)
event.listen(engine, "begin", _limit)
with engine.connect() as lock, engine.connect() as connection:
    lock.execute(text("SET LOCAL lock_timeout = 0"))  # another process's migrations may take long
    lock.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
    _migrate(connection)
