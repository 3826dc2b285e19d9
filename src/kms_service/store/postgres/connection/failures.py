"""What an error of PostgreSQL means for the connection and, without any of its values, for people."""

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kms_service.errors import DatabaseRefused, DatabaseUnavailable, IntegrityFailure
from kms_service.store.postgres.connection.session import SessionRefused

_MOST_CHARACTERS = 500
_NO_RIGHT = "42501"
_READS_ONLY = "25006"
# The connection leads to the wrong server: it is read-only, starting or stopping, no longer knows the login
# or the database, or is a pooler that mixed up sessions. Class 08 means that the connection itself failed.
_ANOTHER_SERVER = frozenset(
    {_READS_ONLY, "57P01", "57P02", "57P03", "57P04", "57P05", "28000", "28P01", "3D000", "26000", "42P05"}
)


class NotTheStatements(psycopg.InternalError):
    """A row has other columns than its statement: a pooler mixed up sessions."""


def is_of_another_server(error: SQLAlchemyError | psycopg.Error, *, standby: bool = False) -> bool:
    """Whether neither this connection nor those opened before must be used again.

    Args:
        error: the error of a statement.
        standby: whether a server that takes no writes will do.
    """
    state = sqlstate(error) or ""
    if standby and state == _READS_ONLY:
        return False
    another = isinstance(_cause(error), SessionRefused | NotTheStatements)
    return another or state in _ANOTHER_SERVER or state.startswith("08")


def translate(
    error: SQLAlchemyError | psycopg.Error, reason: str
) -> DatabaseUnavailable | DatabaseRefused | IntegrityFailure:
    """The error of this service for it: the database, this login or a stored row is at fault.

    A value that psycopg cannot read, such as a time in the year 294000, was not written by this service.
    """
    cause = _cause(error)
    if isinstance(cause, psycopg.DataError) and cause.sqlstate is None:
        return IntegrityFailure("a stored value that cannot be read")
    if sqlstate(error) == _NO_RIGHT:
        return DatabaseRefused(reason)
    return DatabaseUnavailable(reason)


def kind(error: SQLAlchemyError | psycopg.Error) -> str:
    """The DBAPI's name for it, for metrics: psycopg's own classes, one per SQLSTATE, would be too many."""
    bases = (cls.__name__ for cls in type(error).__mro__ if cls.__module__ == psycopg.__name__)
    return next(bases, type(error).__name__)


def sqlstate(error: SQLAlchemyError | psycopg.Error) -> str | None:
    """PostgreSQL's error code, if it gave one."""
    state: str | None = getattr(_cause(error), "sqlstate", None)
    return state


def reason(error: SQLAlchemyError | psycopg.Error) -> str:
    """The reason, in one line for operators, without a statement's values and without a password.

    libpq's text about a connection names hosts, users and databases; that about a statement can hold
    anything, so it is left out.
    """
    cause = _cause(error)
    if isinstance(error, PoolTimeout):
        return "all connections of this process are in use"
    if isinstance(cause, psycopg.OperationalError | NotTheStatements) and (
        cause.sqlstate is None or is_of_another_server(cause)
    ):
        words = " ".join(str(cause).split())
        return words[:_MOST_CHARACTERS]
    return f"PostgreSQL refused a statement: {type(cause).__name__} ({sqlstate(error)})"


def _cause(error: SQLAlchemyError | psycopg.Error) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
