"""Adopts the wallets of the ported service, page by page: opens, checks, and stores each encrypted anew.

Wallets that are here already are skipped, so a run that was interrupted is simply repeated, and several runs
may go on at once. The other service's table is only read.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from enum import Enum

from kms_service.access.scopes import Caller
from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, NoUsableKey
from kms_service.service.adoption.encrypted_phrase import Unreadable
from kms_service.service.adoption.opening import SourceOpener
from kms_service.service.bounded import map_bounded
from kms_service.service.pace import Pace
from kms_service.service.wallets.creation import WalletKeeper
from kms_service.settings import USER_ID
from kms_service.store.adoption.source import SourceRow, SourceTable

ACTION = "wallet.adopt"
NAMED = 1000
CAN_BE_ADOPTED = "can be adopted"
BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0)


class Outcome(Enum):
    """What became of a wallet."""

    ADOPTED = "adopted"
    ALREADY_HERE = "already here"
    OTHER_ADDRESS = "here with another address"
    UNREADABLE = "does not open"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of one user's wallet, and why, in words of this code or of KMS."""

    user_id: str
    outcome: Outcome
    reason: str = ""


@dataclass(slots=True)
class Adoption:
    """How far a run has come.

    Attributes:
        total: rows to go through in all, as counted at the start.
        passed: rows gone through so far.
        counts: wallets by outcome; in a dry run, those that could be adopted are `LEFT`.
        named: the first thousand wallets that cannot be adopted or were left.
        keys_used: ARNs of the other service's keys that unwrapped a DEK.
        cursor: the last user id gone through; None before the first.
        complete: whether the end was reached.
    """

    total: int
    passed: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    named: list[Adopted] = field(default_factory=list)
    keys_used: list[str] = field(default_factory=list)
    cursor: str | None = None
    complete: bool = False

    @property
    def done(self) -> bool:
        """Whether every wallet is here, with the right address and a MAC that holds."""
        wrong = (Outcome.OTHER_ADDRESS, Outcome.UNREADABLE, Outcome.LEFT)
        return self.complete and not any(self.counts[outcome] for outcome in wrong)


ShowAdoption = Callable[[Adoption, Sequence[Adopted]], None]


class Adopter:
    """Adopts wallets from one table.

    Every method raises DatabaseUnavailable when this service's database does not answer.
    """

    def __init__(self, opener: SourceOpener, keeper: WalletKeeper) -> None:
        self._opener = opener
        self._keeper = keeper
        self._wallets = keeper.wallets

    async def run(
        self,
        caller: Caller,
        source: SourceTable,
        *,
        after: str | None,
        at_once: int,
        rate_per_second: float | None,
        dry_run: bool,
        report: ShowAdoption,
    ) -> Adoption:
        """Adopt every wallet after user `after` that is not here; no secret leaves this method.

        Args:
            caller: whose run it is.
            source: the other service's table.
            after: the cursor of an earlier run, or None.
            at_once: how many wallets to open and encrypt at a time.
            rate_per_second: how many wallets to begin per second at most; None for no limit.
            dry_run: open and check everything, but store no wallet.
            report: called after every page with the state of the run and the outcomes of that page.

        Raises:
            SourceUnreadable: the other service's table cannot be read any more.
            IntegrityFailure, KmsError, NoUsableKey: the keys of row MACs could not be unwrapped.
            AuditUnavailable: no audit row can be written, so nothing more is adopted.
        """
        run = Adoption(await source.count(after), cursor=after)
        pace = Pace(rate_per_second)

        async def outcome(row: SourceRow) -> Adopted:
            return await self._outcome(caller, row, pace, dry_run=dry_run)

        while page := await source.page(run.cursor):
            here = await self._find_addresses([row.user_id for row in page])
            new = [row for row in page if row.user_id not in here]
            found = [_compare(row, here[row.user_id]) for row in page if row.user_id in here]
            found += await map_bounded(outcome, new, at_once)
            await self._keeper.list_requests(caller, ACTION, self._opener.take_requests())
            _note(run, found)
            run.keys_used = self._opener.keys_used
            run.cursor = page[-1].user_id
            report(run, found)
        run.complete = True
        return run

    async def _find_addresses(self, user_ids: list[str]) -> Mapping[str, str | None]:
        """The addresses of those users who have a wallet here; None if the row's MAC does not hold."""
        return await self._wallets.addresses(user_ids)

    async def _outcome(self, caller: Caller, row: SourceRow, pace: Pace, *, dry_run: bool) -> Adopted:
        if not re.fullmatch(USER_ID, row.user_id) or row.user_id in {".", ".."}:
            return Adopted(row.user_id, Outcome.UNREADABLE, "is not a valid user id here")
        for seconds in (*BACK_OFF_SECONDS, None):
            await pace.wait()
            try:
                return await self._adopt(caller, row, dry_run=dry_run)
            except Unreadable as error:
                return Adopted(row.user_id, Outcome.UNREADABLE, error.reason)
            except (KmsError, NoUsableKey, IntegrityFailure) as error:
                if isinstance(error, KmsKeyUnusable | IntegrityFailure) or seconds is None:
                    return Adopted(row.user_id, Outcome.LEFT, _reason(error))
                await asyncio.sleep(seconds)
        raise AssertionError("the last attempt answers")

    async def _adopt(self, caller: Caller, row: SourceRow, *, dry_run: bool) -> Adopted:
        # 1. It opens to the address in its own row; nothing else is adopted.
        opened = await self._opener.open(row)
        # 2. Nobody else here has that address.
        owner = await self._wallets.owner_of(opened.account.address)
        if owner is not None and owner != row.user_id:
            return Adopted(row.user_id, Outcome.OTHER_ADDRESS, "another user here has this wallet")
        if dry_run:
            return Adopted(row.user_id, Outcome.LEFT, CAN_BE_ADOPTED)
        # 3. Encrypted under a DEK of ours, and committed with its MAC and audit row.
        made_at = None if row.created_at is None else row.created_at.astimezone(UTC)
        kept = await self._keeper.keep(
            caller, ACTION, row.user_id, opened.account, opened.contents, made_at=made_at
        )
        if kept is not None:
            return Adopted(row.user_id, Outcome.ADOPTED)
        # 4. Not stored: another run was faster, or the user got another wallet here meanwhile.
        here = await self._find_addresses([row.user_id])
        if row.user_id in here:
            return _compare(row, here[row.user_id])
        return Adopted(row.user_id, Outcome.OTHER_ADDRESS, "another user here has this wallet")


def _compare(row: SourceRow, address: str | None) -> Adopted:
    if address is None:
        return Adopted(
            row.user_id, Outcome.LEFT, "its row here has no valid MAC: for details run kms-service verify"
        )
    if address.lower() == row.wallet_address.lower():
        return Adopted(row.user_id, Outcome.ALREADY_HERE)
    return Adopted(row.user_id, Outcome.OTHER_ADDRESS, "the user has another wallet here")


def _note(run: Adoption, found: Sequence[Adopted]) -> None:
    run.passed += len(found)
    run.counts.update(each.outcome for each in found)
    fine = (Outcome.ADOPTED, Outcome.ALREADY_HERE)
    wrong = [each for each in found if each.outcome not in fine and each.reason != CAN_BE_ADOPTED]
    run.named += wrong[: NAMED - len(run.named)]


def _reason(error: KmsError | NoUsableKey | IntegrityFailure) -> str:
    return str(error) if isinstance(error, NoUsableKey) else f"{error.code}: {error.reason}"
