"""What the code relies on in a session, whatever the server, the database and the role say.

It is asked and set by plain statements after the start: PgBouncer passes few startup parameters. Behind a
pooler that gives each transaction another server's session, only what the pooler itself carries along can
be set (DateStyle, TimeZone and their like); the rest must be right by default, or the connection is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import OperationalError

_SEARCH_PATH = "search_path"
# Reported by the server to its client, so that poolers know them and set them again.
_REPORTED = {
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
}
_KEPT = {
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "default_transaction_isolation": "read committed",
    _SEARCH_PATH: "public",
}
# Of these, what DATABASE_URL's own `options` say is meant so.
_THEIRS = frozenset({_SEARCH_PATH, "statement_timeout", "lock_timeout"})
_FROM_STARTUP = "client"
_DEFAULT_PATHS = ('"$user", public', "public")

LOOK = """
SELECT pg_catalog.pg_backend_pid(),
       pg_catalog.current_setting('transaction_read_only') = 'on',
       ARRAY(SELECT ARRAY[name, setting, source, reset_val] FROM pg_catalog.pg_settings
             WHERE name = ANY (%s))
"""
"""Asks, with the names of settings, for the row that `Session` is made of."""

PIN = """
SELECT pg_catalog.array_agg(pg_catalog.set_config(name, value, false) ORDER BY place)
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))
     WITH ORDINALITY AS pins(name, value, place)
"""
"""Sets settings by names and values, and answers the values that hold now."""


class SessionRefused(OperationalError):
    """The connection stands, but is not to be used: the message is one line of this source's words."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the session: how it stands, where from, and what a new transaction may find instead."""

    name: str
    value: str
    source: str
    default: str


@dataclass(frozen=True, slots=True)
class Session:
    """What was found in a new session.

    Attributes:
        pooled: somebody stands between: the server's process is not the one that answered the start.
        read_only: this server takes no writes.
    """

    pooled: bool
    read_only: bool
    settings: Mapping[str, Setting]

    def to_pin(self, timeouts: Mapping[str, str], *, standby: bool) -> dict[str, str]:
        """The settings that have to be set, with their values.

        Args:
            timeouts: by name, as PostgreSQL writes them.
            standby: whether a server will do that takes no writes.

        Raises:
            SessionRefused: the server takes no writes, or a setting cannot be pinned behind the pooler.
        """
        if self.read_only and not standby:
            raise SessionRefused("this server takes no writes: it is a standby, or read-only by its settings")
        if self.pooled:
            self._check_defaults()
            wanted: Mapping[str, str] = _REPORTED
        else:
            wanted = {**_REPORTED, **_KEPT, **timeouts}
        return {name: value for name, value in wanted.items() if self._differs(name, value)}

    def _differs(self, name: str, value: str) -> bool:
        found = self.settings.get(name)
        if found is None:
            raise SessionRefused(f"this server knows no {name}: it is not a PostgreSQL this works with")
        return found.value != value and not (name in _THEIRS and found.source == _FROM_STARTUP)

    def _check_defaults(self) -> None:
        for name, value in _KEPT.items():
            found = self.settings.get(name)
            default = None if found is None else found.default
            if name == _SEARCH_PATH and default in _DEFAULT_PATHS:
                continue
            if default != value:
                raise SessionRefused(
                    f"behind a pooler {name} cannot be pinned and is {default} by default: "
                    f"ALTER ROLE … SET {name} = '{value}', then have the pooler reconnect"
                )


def names(timeouts: Mapping[str, str]) -> list[str]:
    """The settings to ask for."""
    return [*_REPORTED, *_KEPT, *timeouts]


def found(row: tuple[int, bool, list[list[str]]], answered_pid: int) -> Session:
    """The session that the row of `LOOK` tells of; `answered_pid` is whose the start was."""
    pid, read_only, settings = row
    return Session(
        pooled=pid != answered_pid,
        read_only=read_only,
        settings={name: Setting(name, value, source, default) for name, value, source, default in settings},
    )


def check_pinned(wanted: Mapping[str, str], now: list[str]) -> None:
    """Pass when the server took each value.

    Raises:
        SessionRefused: it holds another.
    """
    for (name, value), holds in zip(wanted.items(), now, strict=True):
        if holds != value:
            raise SessionRefused(f"{name} cannot be pinned: it stays {holds}, {value} is needed")
