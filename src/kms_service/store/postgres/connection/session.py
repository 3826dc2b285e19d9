"""The session settings that the code relies on, whatever server, database and role have by default.

They are read and set by plain statements after the start, since PgBouncer passes few startup parameters. A
pooler may give each transaction another session. Then only the settings that the pooler itself carries along
can be set (DateStyle, TimeZone and the like); the others must be right by default, or the connection is
refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import OperationalError

_SEARCH_PATH = "search_path"
# The server reports these to its client, so that poolers know them and set them again.
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
# For these, the `options` in DATABASE_URL take precedence.
_THEIRS = frozenset({_SEARCH_PATH, "statement_timeout", "lock_timeout"})
_FROM_STARTUP = "client"
_DEFAULT_PATHS = ('"$user", public', "public")

LOOK = """
SELECT pg_catalog.pg_backend_pid() AS pid,
       pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only,
       ARRAY(SELECT ARRAY[name, setting, source, reset_val] FROM pg_catalog.pg_settings
             WHERE name = ANY (%s)) AS settings
"""
"""Takes the names of settings; returns the row from which `read_session` makes a `Session`."""

PIN = """
SELECT pg_catalog.array_agg(pg_catalog.set_config(name, value, false) ORDER BY place)
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))
     WITH ORDINALITY AS pins(name, value, place)
"""
"""Takes the names and values of settings, and sets them; returns the values that are in force then."""


class SessionRefused(OperationalError):
    """The connection was made, but must not be used; the message says why, in one line of our words."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the session: its value, where that comes from, and the default in another session."""

    name: str
    value: str
    source: str
    default: str


@dataclass(frozen=True, slots=True)
class Session:
    """What was found in a new session.

    Attributes:
        pooled: whether there is a pooler: the server's process is not the one that answered the start.
        read_only: whether this server takes no writes.
    """

    pooled: bool
    read_only: bool
    settings: Mapping[str, Setting]

    def settings_to_pin(self, timeouts: Mapping[str, str], *, standby: bool) -> dict[str, str]:
        """The settings that must be set, with their values.

        Args:
            timeouts: time-outs by name, as PostgreSQL writes them.
            standby: whether a server that takes no writes will do.

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
    """The names of the settings to read."""
    return [*_REPORTED, *_KEPT, *timeouts]


def read_session(row: Any, answered_pid: int) -> Session:
    """The session in a row of `LOOK`; `answered_pid` is the process that answered the start."""
    settings = (Setting(*each) for each in row.settings)
    return Session(
        pooled=row.pid != answered_pid,
        read_only=row.read_only,
        settings={setting.name: setting for setting in settings},
    )


def check_pinned(wanted: Mapping[str, str], now: list[str]) -> None:
    """Pass if the server took each value.

    Raises:
        SessionRefused: it kept another value.
    """
    for (name, value), holds in zip(wanted.items(), now, strict=True):
        if holds != value:
            raise SessionRefused(f"{name} cannot be pinned: it stays {holds}, {value} is needed")
