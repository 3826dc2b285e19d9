"""Verifying that stored wallets open: each envelope opened, its address derived again, nothing released."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, KmsUnavailable
from kms_service.kms.errors import KmsCallNotMade
from kms_service.service.audit.log import OK, AuditLog, Event
from kms_service.service.audit.requests import LISTED, listings
from kms_service.service.bounded import map_bounded
from kms_service.service.wallets.opening import WalletOpener
from kms_service.store.wallets.find import SealedWallet
from kms_service.store.wallets.walk import Chosen, WalletWalk

FAILURES_KEPT = 1000
BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
FAILED = "failures_found"
_ACTION = "wallets.verify"


@dataclass(frozen=True, slots=True)
class WalletFailure:
    """A wallet that did not open: an error code, and words of KMS or of this source."""

    user_id: str
    kms_key_id: str
    code: str
    reason: str


@dataclass(slots=True)
class Verification:
    """How far a run has come.

    Attributes:
        total: wallets to be passed in all.
        passed: wallets passed, opened or not chosen.
        opened: wallets that opened to their own address.
        failed: wallets that did not.
        failures: the first thousand of these.
        cursor: the last user id before which everything is done: where another run goes on.
        complete: whether the end was reached.
    """

    total: int
    cursor: str
    passed: int = 0
    opened: int = 0
    failed: int = 0
    failures: list[WalletFailure] = field(default_factory=list)
    complete: bool = False


Report = Callable[[Verification, Sequence[WalletFailure]], None]


class WalletVerifier:
    """Opens stored wallets as the service would, several at a time, in memory that does not grow."""

    def __init__(self, walk: WalletWalk, opener: WalletOpener, audit: AuditLog) -> None:
        self._walk = walk
        self._opener = opener
        self._audit = audit

    async def verify(
        self, chosen: Chosen, *, after: str, at_once: int, rate_per_second: float | None, report: Report
    ) -> Verification:
        """Open every chosen wallet behind user id `after`; no secret leaves this method.

        KMS being away or throttling is waited out for a while, then the wallet counts as failed.

        Args:
            chosen: which wallets.
            after: the cursor of an earlier run, or an empty string.
            at_once: wallets opened at a time; each is one kms:Decrypt and a key derivation.
            rate_per_second: wallets begun in a second, at most; None for no limit.
            report: told after every stretch how far the run is, and which wallets failed in it.

        Raises:
            DatabaseUnavailable: PostgreSQL did not answer.
            AuditUnavailable: the run is done and not on record.
        """
        run = Verification(await self._walk.count(chosen, after), after)
        pace = _Pace(rate_per_second)

        requests: list[str] = []

        async def failure(wallet: SealedWallet) -> WalletFailure | None:
            return await self._failure(wallet, pace, requests)

        async with self._on_record(run, chosen, requests):
            while (stretch := await self._walk.next(chosen, run.cursor)) is not None:
                outcomes = await map_bounded(failure, stretch.chosen, at_once)
                await self._list_requests(requests)
                failures = [outcome for outcome in outcomes if outcome is not None]
                run.passed += stretch.passed
                run.opened += len(outcomes) - len(failures)
                run.failed += len(failures)
                run.failures += failures[: FAILURES_KEPT - len(run.failures)]
                run.cursor = stretch.last_user_id
                report(run, failures)
            run.complete = True
        return run

    @asynccontextmanager
    async def _on_record(self, run: Verification, chosen: Chosen, requests: list[str]) -> AsyncIterator[None]:
        # One row a run, however it ends: nothing is released that would need a row of its own.
        started_after = run.cursor
        try:
            yield
        finally:
            scope = f"key={chosen.kms_key_id or 'any'} since={chosen.since} share={chosen.share:g}"
            where = f"after={started_after or '-'} to={'end' if run.complete else run.cursor or '-'}"
            counts = f"opened={run.opened} failed={run.failed}"
            outcome = FAILED if run.failed else OK
            await self._list_requests(requests)
            await self._audit.record(Event(_ACTION, outcome=outcome, detail=f"{counts} {scope} {where}"))

    async def _list_requests(self, requests: list[str]) -> None:
        # So that each Decrypt that CloudTrail tells of is explained, though none released anything.
        for detail in listings(_ACTION, requests):
            await self._audit.record(Event(LISTED, detail=detail))
        requests.clear()

    async def _failure(
        self, wallet: SealedWallet, pace: "_Pace", requests: list[str]
    ) -> WalletFailure | None:
        for seconds in (*BACK_OFF_SECONDS, None):
            await pace.wait()
            try:
                opened = await self._opener.open(wallet)
                requests += filter(None, [opened.kms_request_id])
            except IntegrityFailure as error:
                requests += filter(None, [error.kms_request_id])
                return _failed(wallet, error, error.reason)
            except KmsError as error:
                await self._note_lost(wallet, error)
                if isinstance(error, KmsKeyUnusable) or seconds is None:
                    return _failed(wallet, error, error.reason)
                await asyncio.sleep(seconds)
            else:
                return None
        raise AssertionError("the last attempt answers")

    async def _note_lost(self, wallet: SealedWallet, error: KmsError) -> None:
        # KMS may have done what nobody got an answer to.
        if isinstance(error, KmsUnavailable) and not isinstance(error, KmsCallNotMade):
            event = Event(
                _ACTION,
                outcome=error.code,
                user_id=wallet.user_id,
                wallet_address=wallet.wallet_address,
                kms_key_id=wallet.dek.key_arn,
                kms_request_id=error.kms_request_id,
            )
            await self._audit.record(event)


class _Pace:
    """Lets callers through at a steady rate."""

    def __init__(self, rate_per_second: float | None) -> None:
        self._interval = 0.0 if rate_per_second is None else 1 / rate_per_second
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Return when it is the caller's turn."""
        if not self._interval:
            return
        turn = max(self._next, time.monotonic())
        self._next = turn + self._interval
        await asyncio.sleep(max(0.0, turn - time.monotonic()))


def _failed(wallet: SealedWallet, error: IntegrityFailure | KmsError, reason: str) -> WalletFailure:
    return WalletFailure(wallet.user_id, wallet.dek.key_arn, error.code, reason)
