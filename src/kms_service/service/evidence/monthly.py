"""Collects a month's report from the sums over the audit log, and from the pool."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kms_service import __version__
from kms_service.kms.answers import KeyRotation
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.evidence.report import Check, Day, Happening, KeyLine, Month, MonthlyReport, Uses
from kms_service.service.pool.census import Census
from kms_service.store.audit.summary import AuditEntry, AuditSummaryStore, UseCount

LISTED = 200
_RELEASES = ("sign.", "private_key.")
_CREATIONS = ("wallet.create", "wallet.import", "wallet.adopt")


class MonthlyReports:
    """Collects reports. The database reads the month's rows a few times."""

    def __init__(self, store: AuditSummaryStore, pool: KmsKeyPool, census: Census) -> None:
        self._store = store
        self._pool = pool
        self._census = census

    async def collect(self, month: Month, checks: Sequence[Check], made_by: str) -> MonthlyReport:
        """The report of a month.

        Args:
            month: the month to report on.
            checks: what was verified for the report, and what was not.
            made_by: the actor who asks for it.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        uses = await self._store.uses(month.since, month.until)
        return MonthlyReport(
            month=month,
            made_at=datetime.now(UTC),
            made_by=made_by,
            version=__version__,
            checks=checks,
            released=[_uses(each) for each in uses if _is_release(each) and each.outcome == "ok"],
            refused=[_uses(each) for each in uses if each.outcome != "ok" and not _is_run(each)],
            made=[_uses(each) for each in uses if each.action in _CREATIONS and each.outcome == "ok"],
            days=await self._days(month),
            keys=await self._keys(),
            rotations=await self._entries(month, "rotation", "pool"),
            seals=await self._entries(month, "seal"),
            canaries=await self._entries(month, "canary"),
            tokens=await self._entries(month, "token", "policy"),
        )

    async def _days(self, month: Month) -> list[Day]:
        counts = {
            (each.day.astimezone(UTC).date(), each.released): each.events
            for each in await self._store.days(month.since, month.until)
        }
        dates = [month.since + timedelta(days=number) for number in range((month.until - month.since).days)]
        return [Day(at, counts.get((at.date(), True), 0), counts.get((at.date(), False), 0)) for at in dates]

    async def _keys(self) -> list[KeyLine]:
        counted = await self._census.last_count()
        return [
            KeyLine(
                alias=key.alias,
                status=str(key.status),
                mode=str(key.mode),
                wallets=(counted[key.key_arn].wallets or 0) if key.key_arn in counted else 0,
                rotation=_describe_rotation(key.rotation),
            )
            for key in self._pool.keys
        ]

    async def _entries(self, month: Month, *kinds: str) -> list[Happening]:
        found = await self._store.entries(kinds, month.since, month.until, LISTED + 1)
        told = [_happening(each) for each in found[:LISTED]]
        if len(found) > LISTED:
            last = found[LISTED]
            told.append(Happening(last.at, "", "…", "ok", "and more, which kms-service audit list shows"))
        return told


def _describe_rotation(rotation: KeyRotation | None) -> str:
    if rotation is None:
        return "not told"
    return f"every {rotation.period_in_days} days" if rotation.enabled else "off"


def _is_release(use: UseCount) -> bool:
    return use.action.startswith(_RELEASES)


def _is_run(use: UseCount) -> bool:
    # A verification that found failures is not a refusal.
    return use.action == "wallets.verify"


def _uses(each: UseCount) -> Uses:
    return Uses(each.actor, each.action, each.outcome, each.events, each.wallets)


def _happening(each: AuditEntry) -> Happening:
    return Happening(each.at, each.actor, each.action, each.outcome, each.about)
