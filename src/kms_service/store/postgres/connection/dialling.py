"""Opens connections, and makes sure of every setting that the code relies on."""

import asyncio
import secrets
import traceback
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg._preparing import Prepare, PrepareManager
from psycopg.rows import namedtuple_row

from kms_service.database_settings import DatabaseSettings
from kms_service.store.postgres.connection import session
from kms_service.store.postgres.connection.address import CONNECT_SECONDS, address, hosts
from kms_service.store.postgres.connection.login import login_of

STATEMENT_SECONDS = 3
SERVING = {"statement_timeout": f"{STATEMENT_SECONDS}s", "lock_timeout": f"{STATEMENT_SECONDS}s"}
_NO_TIMEOUTS: dict[str, str] = {}
_PREPARED_AFTER = 5


class Dialler:
    """Opens connections to the database of these settings."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._login = login_of(settings)

    async def connect(self) -> AsyncConnection[Any]:
        """A new connection with a pinned session, on which each statement is its own transaction.

        Raises:
            psycopg.OperationalError: no answer, refused, or not a suitable server.
        """
        parameters = address(
            self._settings.database_url.get_secret_value(), standby=self._settings.database_standby
        )
        try:
            return await self._open(await self._login.merge(parameters))
        except session.SessionRefused:
            raise
        except psycopg.OperationalError:
            # Perhaps the password was changed: libpq gives no error code for a refused login.
            if not await self._login.renew():
                raise
        return await self._open(await self._login.merge(parameters))

    async def _open(self, parameters: dict[str, str]) -> AsyncConnection[Any]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS * (1 + hosts(parameters))):
                return await self._make_ready(await _log_in(parameters))
        except TimeoutError:
            raise psycopg.OperationalError("no answer in time while connecting") from None

    async def _make_ready(self, driver: AsyncConnection[Any]) -> AsyncConnection[Any]:
        try:
            cursor = await driver.cursor(row_factory=namedtuple_row).execute(
                session.LOOK, [session.names(SERVING)]
            )
            looked = session.read_session(_require_row(await cursor.fetchone()), driver.info.backend_pid)
            if pins := looked.settings_to_pin(SERVING, standby=self._settings.database_standby):
                cursor = await driver.execute(session.PIN, [list(pins), list(pins.values())])
                session.check_pinned(pins, _require_row(await cursor.fetchone())[0])
        except BaseException:
            await driver.close()
            raise
        driver._prepared = _OwnNames()  # noqa: SLF001 # psycopg has no public way to set it; see the class
        driver.prepare_threshold = self._prepare_threshold(pooled=looked.pooled)
        return driver

    def _prepare_threshold(self, *, pooled: bool) -> int | None:
        asked = self._settings.database_prepared_statements
        return None if asked == "false" or (asked == "auto" and pooled) else _PREPARED_AFTER


async def _log_in(parameters: Mapping[str, str]) -> AsyncConnection[Any]:
    try:
        return await AsyncConnection.connect(**_words(parameters), autocommit=True, prepare_threshold=None)
    except BaseException as error:
        # If psycopg is cancelled half way, one of its frames keeps the socket open for as long as the error
        # lives. The server would keep a connection for it until its authentication_timeout.
        traceback.clear_frames(error.__traceback__)
        raise


def connect_for_migrations(database_url: str, login: Mapping[str, str]) -> Connection[Any]:
    """A blocking connection with a pinned session, no time-outs, and no transaction begun.

    Args:
        database_url: the value of DATABASE_URL.
        login: libpq's parameters that do not come from the URL; a secret that the caller owns.

    Raises:
        psycopg.OperationalError: as `Dialler.connect`.
    """
    driver = Connection.connect(**_words({**address(database_url), **login}), prepare_threshold=None)
    try:
        driver.autocommit = True
        cursor = driver.cursor(row_factory=namedtuple_row).execute(
            session.LOOK, [session.names(_NO_TIMEOUTS)]
        )
        looked = session.read_session(_require_row(cursor.fetchone()), driver.info.backend_pid)
        if pins := looked.settings_to_pin(_NO_TIMEOUTS, standby=False):
            cursor = driver.execute(session.PIN, [list(pins), list(pins.values())])
            session.check_pinned(pins, _require_row(cursor.fetchone())[0])
        driver.autocommit = False
    except BaseException:
        driver.close()
        raise
    return driver


class _OwnNames(PrepareManager):
    """Gives prepared statements names that no other client uses.

    psycopg numbers them from 0 in each connection. If a pooler gives a server's session to another client
    between two transactions, the same name would run that client's statement. A unique name is unknown there,
    which is an error, and never returns another statement's row.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whose = f"_{secrets.token_hex(6)}".encode()

    def get(self, query: Any, prepare: bool | None = None) -> tuple[Prepare, bytes]:
        """As psycopg's."""
        state, name = super().get(query, prepare)
        return state, name + self._whose if state is Prepare.SHOULD else name


def _require_row(row: Any) -> Any:
    if row is None:
        raise session.SessionRefused("this server answers no row: it is not a PostgreSQL this works with")
    return row


def _words(parameters: Mapping[str, str]) -> dict[str, Any]:
    return dict(parameters)
