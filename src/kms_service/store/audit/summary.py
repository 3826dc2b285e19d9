"""Sums over a period of the audit log, for reports: each reads the rows of that period once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from kms_service.store.postgres.database import Database

STATEMENT_SECONDS = 300

_USES = text(
    """
    SELECT actor, action, outcome, count(*) AS events, count(DISTINCT user_id) AS wallets
    FROM audit_events WHERE at >= :since AND at < :until
    GROUP BY actor, action, outcome ORDER BY events DESC, actor, action, outcome
    """
)
_DAYS = text(
    """
    SELECT date_trunc('day', at, 'UTC') AS day, outcome = 'ok' AS released, count(*) AS events
    FROM audit_events
    WHERE at >= :since AND at < :until AND (action LIKE 'sign.%' OR action LIKE 'private_key.%')
    GROUP BY 1, 2
    """
)
_HAPPENINGS = text(
    """
    SELECT at, actor, action, outcome, coalesce(detail, user_id, '') AS about
    FROM audit_events WHERE at >= :since AND at < :until AND split_part(action, '.', 1) = ANY(:kinds)
    ORDER BY at, id LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class UseCount:
    """How often an actor did one action with one outcome, and to how many users' wallets."""

    actor: str
    action: str
    outcome: str
    events: int
    wallets: int


@dataclass(frozen=True, slots=True)
class DayCount:
    """Releases, or refusals of them, on one day (UTC)."""

    day: datetime
    released: bool
    events: int


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event as a report lists it; `about` is its detail or its user."""

    at: datetime
    actor: str
    action: str
    outcome: str
    about: str


class AuditSummaryStore:
    """Statements that sum up `audit_events`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def uses(self, since: datetime, until: datetime) -> list[UseCount]:
        """What each actor did, the most frequent first."""
        return [UseCount(**row._asdict()) for row in await self._rows(_USES, since=since, until=until)]

    async def days(self, since: datetime, until: datetime) -> list[DayCount]:
        """Releases and refusals by day, in no order; days without any are left out."""
        return [DayCount(**row._asdict()) for row in await self._rows(_DAYS, since=since, until=until)]

    async def entries(
        self, kinds: Sequence[str], since: datetime, until: datetime, limit: int
    ) -> list[AuditEntry]:
        """Events whose action begins with one of these words, such as `seal`, oldest first."""
        found = await self._rows(_HAPPENINGS, kinds=list(kinds), since=since, until=until, limit=limit)
        return [AuditEntry(**row._asdict()) for row in found]

    async def _rows(self, statement: Any, **parameters: Any) -> Sequence[Row[Any]]:
        async with self._database.transaction(STATEMENT_SECONDS + 1) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))
            return (await connection.execute(statement, parameters)).all()
