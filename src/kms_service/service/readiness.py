"""Says whether this process can serve, from recent outcomes and never by a paid KMS call."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from kms_service.errors import DatabaseUnavailable, SchemaBehind
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.audit.log import AuditLog
from kms_service.service.row_macs import RowMacs
from kms_service.service.switches.poll import SharedState
from kms_service.store.postgres import schema
from kms_service.store.postgres.database import Database

PROBE_SECONDS = 2.0
STALE_SECONDS = 10.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to a probe: `checks` maps the name of each check to `ok` or what is wrong."""

    ready: bool
    checks: dict[str, str]
    """Three of them do not count for `ready`: `releases`, since a sealed service still creates wallets;
    `regions` (present if there is a second Region), since the other one serves; and `writes` of a standby."""


class Readiness:
    """Keeps the outcome of the last check of each dependency; answering a probe costs nothing."""

    def __init__(
        self,
        database: Database,
        pool: KmsKeyPool,
        row_macs: RowMacs,
        audit: AuditLog,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._pool = pool
        self._row_macs = row_macs
        self._audit = audit
        self._clock = clock
        self._seen = -STALE_SECONDS
        self._answered_at = datetime.now(UTC)
        self._checks = {"database": "not looked at yet", "migrations": "not looked at yet"}
        self._draining = False
        self._sealed = False
        self._writes = True

    async def probe(self) -> None:
        """Check the database now; run every two seconds."""
        self._checks = await self._look()
        self._seen = self._clock()
        if self._checks["database"] == OK:
            self._answered_at = datetime.now(UTC)

    @property
    def database_away_since(self) -> datetime | None:
        """When the database last answered a check (UTC); None while it answers."""
        return None if self.health().checks["database"] == OK else self._answered_at

    @property
    def draining(self) -> bool:
        """Whether the process is about to stop."""
        return self._draining

    def drain(self) -> None:
        """Answer not ready from now on, so that no new traffic comes while requests finish."""
        self._draining = True

    def show_seal(self, state: SharedState) -> None:
        """Note the seal, to show it in the answer; a sealed process stays ready."""
        self._sealed = state.sealed

    def health(self) -> Health:
        """What is known now; a check that hangs counts as failed after ten seconds."""
        checks = dict(self._checks)
        if self._clock() - self._seen > STALE_SECONDS:
            checks["database"] = "does not answer"
        checks["kms"] = self._kms()
        if self._writes and not self._audit.begun:
            checks["audit"] = "has not opened a chain"
        if self._draining:
            checks["process"] = "shutting down"
        ready = all(check == OK for check in checks.values())
        sealed = {"releases": "sealed" if self._sealed else OK}
        writes = {} if self._writes else {"writes": "none: the database is a standby"}
        return Health(ready, {**checks, **sealed, **writes, **self._regions()})

    def _regions(self) -> dict[str, str]:
        states = self._pool.regions
        if len(states) == 1:
            return {}
        troubles = [f"{each.name} does not serve ({each.reason})" for each in states if each.reason]
        return {"regions": "; ".join(troubles) or OK}

    def _kms(self) -> str:
        problem = self._pool.credentials_problem
        if problem is not None:
            return f"no credentials: {problem}"
        if not self._row_macs.loaded:
            return "has not unwrapped the keys of row MACs"
        return OK if self._pool.wrapping else "no usable key"

    async def _look(self) -> dict[str, str]:
        try:
            self._writes = await self._database.check_writable()
            await schema.check(self._database)
        except DatabaseUnavailable:
            return {"database": "unreachable", "migrations": "unknown"}
        except SchemaBehind:
            return {"database": OK, "migrations": "behind"}
        return {"database": OK, "migrations": OK}
