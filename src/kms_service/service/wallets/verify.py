"""Verifies that stored wallets open to their own address and are in the audit log; releases nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from kms_service.access.scopes import Caller
from kms_service.crypto.row_mac import RowLabel, RowMacKeyring, wallet_fields
from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, KmsThrottled, KmsUnavailable
from kms_service.ethereum import Account
from kms_service.kms.errors import KmsCallNotMade
from kms_service.service.audit.log import OK, AuditLog, Event
from kms_service.service.audit.requests import LISTED, listings
from kms_service.service.bounded import map_bounded
from kms_service.service.pace import Pace
from kms_service.service.row_macs import RowMacs
from kms_service.service.wallets.authenticity import check
from kms_service.service.wallets.opening import WalletOpener, check_phrase
from kms_service.store.wallets.find import EncryptedWallet
from kms_service.store.wallets.walk import Chosen, WalletWalk

FAILURES_KEPT = 1000
BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
FAILED = "failures_found"
_ACTION = "wallets.verify"
UNRECONCILED = "unreconciled"


@dataclass(frozen=True, slots=True)
class WalletFailure:
    """A wallet that failed verification: an error code, and why, in words of KMS or of this code."""

    user_id: str
    kms_key_id: str
    code: str
    reason: str


@dataclass(slots=True)
class Verification:
    """How far a run has come.

    Attributes:
        total: wallets to go through in all, as counted at the start.
        passed: wallets gone through so far, chosen or not.
        opened: wallets that opened to their own address.
        failed: wallets that did not.
        failures: the first thousand wallets that failed or are unreconciled.
        authenticated: wallets that got their MAC in this run.
        unreconciled: wallets without an audit row of their creation, and such rows without their wallet.
        cursor: the user id up to which everything is done; another run can continue after it.
        complete: whether the end was reached.
    """

    total: int
    cursor: str
    passed: int = 0
    opened: int = 0
    failed: int = 0
    failures: list[WalletFailure] = field(default_factory=list)
    authenticated: int = 0
    unreconciled: int = 0
    complete: bool = False


ShowVerification = Callable[[Verification, Sequence[WalletFailure]], None]


class WalletVerifier:
    """Opens stored wallets as the service would, several at a time, in memory that does not grow."""

    def __init__(self, walk: WalletWalk, opener: WalletOpener, macs: RowMacs, audit: AuditLog) -> None:
        self._walk = walk
        self._opener = opener
        self._macs = macs
        self._audit = audit

    async def verify(
        self,
        caller: Caller,
        chosen: Chosen,
        *,
        after: str,
        at_once: int,
        rate_per_second: float | None,
        authenticate: bool,
        report: ShowVerification,
    ) -> Verification:
        """Open every chosen wallet after user id `after`; check its MAC and that the audit log has it.

        No secret leaves this method. Wallets and audit rows are reconciled unless only one key's are chosen.
        While KMS is unavailable or throttling, a wallet is retried for a while, then counted as failed.

        Args:
            caller: whose run it is.
            chosen: which wallets to open.
            after: the cursor of an earlier run, or an empty string.
            at_once: how many wallets to open at a time; each is one kms:Decrypt and perhaps a derivation.
            rate_per_second: how many wallets to begin per second at most; None for no limit.
            authenticate: give a MAC to wallets that open and have none, as in rows from before MACs, and a
                new one to those whose MAC is by an older key.
            report: called after every stretch with the state of the run and the failures in that stretch.

        Raises:
            DatabaseUnavailable: PostgreSQL did not answer.
            IntegrityFailure, KmsThrottled, KmsKeyUnusable, KmsUnavailable, NoUsableKey: the keys of row MACs
                could not be unwrapped.
            AuditUnavailable: the run, or a list of its KMS requests, could not be put on record.
        """
        run = Verification(await self._walk.count(chosen, after), after)
        look = _Look(caller, await self._keyring(), Pace(rate_per_second), authenticate)

        async with self._record_run(run, chosen, look):
            while (stretch := await self._walk.next(chosen, run.cursor)) is not None:
                outcomes = await map_bounded(partial(self._failure, look), stretch.chosen, at_once)
                await self._list_requests(look)
                failures = [outcome for outcome in outcomes if outcome is not None]
                run.passed += stretch.passed
                run.opened += len(outcomes) - len(failures)
                run.authenticated = look.authenticated
                _count(run, failures)
                unreconciled = await self._reconcile(chosen, run.cursor, stretch.last_user_id)
                run.cursor = stretch.last_user_id
                report(run, [*failures, *_note(run, unreconciled)])
            report(run, _note(run, await self._reconcile(chosen, run.cursor, None)))
            run.complete = True
        return run

    async def _keyring(self) -> RowMacKeyring:
        for seconds in BACK_OFF_SECONDS:
            try:
                return await self._macs.keyring()
            except (KmsThrottled, KmsUnavailable):
                await asyncio.sleep(seconds)
        return await self._macs.keyring()

    async def _reconcile(self, chosen: Chosen, after: str, last: str | None) -> list[WalletFailure]:
        if chosen.kms_key_id is not None:
            return []
        unrecorded, vanished = (
            await self._walk.find_unrecorded(after, last),
            await self._walk.find_vanished(after, last),
        )
        return [
            *(WalletFailure(user, "", UNRECONCILED, "no audit row of its creation") for user in unrecorded),
            *(
                WalletFailure(user, "", UNRECONCILED, "its audit row is there, and no wallet")
                for user in vanished
            ),
        ]

    @asynccontextmanager
    async def _record_run(self, run: Verification, chosen: Chosen, look: "_Look") -> AsyncIterator[None]:
        # One row per run, however it ends: nothing is released, so no wallet needs its own row.
        started_after = run.cursor
        try:
            yield
        finally:
            scope = f"key={chosen.kms_key_id or 'any'} since={chosen.since} share={chosen.share:g}"
            where = f"after={started_after or '-'} to={'end' if run.complete else run.cursor or '-'}"
            counts = f"opened={run.opened} failed={run.failed}"
            if run.authenticated:
                counts += f" authenticated={run.authenticated}"
            if run.unreconciled:
                counts += f" unreconciled={run.unreconciled}"
            outcome = FAILED if run.failed or run.unreconciled else OK
            await self._list_requests(look)
            event = Event(_ACTION, outcome=outcome, detail=f"{counts} {scope} {where}")
            await self._audit.record(look.caller, event)

    async def _list_requests(self, look: "_Look") -> None:
        # These explain every Decrypt in CloudTrail, though none released anything.
        for detail in listings(_ACTION, look.requests):
            await self._audit.record(look.caller, Event(LISTED, detail=detail))
        look.requests.clear()

    async def _failure(self, look: "_Look", wallet: EncryptedWallet) -> WalletFailure | None:
        for seconds in (*BACK_OFF_SECONDS, None):
            await look.pace.wait()
            try:
                opened = await self._opener.open(wallet)
                look.requests += filter(None, [opened.kms_request_id])
                check_phrase(opened)
                await self._check_mac(wallet, opened.account, look)
            except IntegrityFailure as error:
                look.requests += filter(None, [error.kms_request_id])
                return _make_failure(wallet, error, error.reason)
            except KmsError as error:
                await self._note_lost(wallet, look.caller, error)
                if isinstance(error, KmsKeyUnusable) or seconds is None:
                    return _make_failure(wallet, error, error.reason)
                await asyncio.sleep(seconds)
            else:
                return None
        raise AssertionError("the last attempt answers")

    async def _note_lost(self, wallet: EncryptedWallet, caller: Caller, error: KmsError) -> None:
        # KMS may have decrypted although no answer came.
        if isinstance(error, KmsUnavailable) and not isinstance(error, KmsCallNotMade):
            event = Event(
                _ACTION,
                outcome=error.code,
                user_id=wallet.user_id,
                wallet_address=wallet.wallet_address,
                kms_key_id=wallet.dek.key_arn,
                kms_request_id=error.kms_request_id,
            )
            await self._audit.record(caller, event)

    async def _check_mac(self, wallet: EncryptedWallet, account: Account, look: "_Look") -> None:
        if wallet.mac is not None or not look.authenticate:
            check(look.ring, wallet)
            if wallet.compressed_public_key != account.compressed_public_key:
                raise IntegrityFailure("public key")
            if not look.authenticate or (wallet.mac and wallet.mac.key_id == look.ring.making_key_id):
                return
        # It opened under KMS's key for this user and address, which is just what its MAC will say.
        public_key = account.compressed_public_key
        mac = look.ring.make(
            RowLabel.WALLET, wallet_fields(wallet.user_id, wallet.wallet_address, public_key)
        )
        if not await self._walk.authenticate(replace(wallet, compressed_public_key=public_key, mac=mac)):
            raise IntegrityFailure("row changed meanwhile")
        look.authenticated += 1


@dataclass(slots=True)
class _Look:
    """A run's settings, how many wallets it gave a MAC, and its KMS requests that are not on record yet."""

    caller: Caller
    ring: RowMacKeyring
    pace: Pace
    authenticate: bool
    authenticated: int = 0
    requests: list[str] = field(default_factory=list)


def _count(run: Verification, failures: Sequence[WalletFailure]) -> None:
    run.failed += len(failures)
    run.failures += failures[: FAILURES_KEPT - len(run.failures)]


def _note(run: Verification, unreconciled: list[WalletFailure]) -> list[WalletFailure]:
    run.unreconciled += len(unreconciled)
    run.failures += unreconciled[: FAILURES_KEPT - len(run.failures)]
    return unreconciled


def _make_failure(wallet: EncryptedWallet, error: IntegrityFailure | KmsError, reason: str) -> WalletFailure:
    return WalletFailure(wallet.user_id, wallet.dek.key_arn, error.code, reason)
