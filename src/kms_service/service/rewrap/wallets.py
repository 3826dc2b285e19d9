"""Rewraps DEKs by kms:ReEncrypt, a few wallets at a time, and sorts the outcomes (invariant 7)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, KmsThrottled
from kms_service.kms.aws import AwsKmsService
from kms_service.service.bounded import map_bounded
from kms_service.service.wallets.opening import encryption_context
from kms_service.store.rewrap.batches import DueWallet, FailedWallet, MovedWallet, Round
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

DESTINATIONS_TRIED = 3

log = get_logger()


@dataclass(frozen=True, slots=True)
class Delayed:
    """A wallet to be tried again, and the error that prevented its move."""

    wallet: DueWallet
    error: KmsError


@dataclass(frozen=True, slots=True)
class Rewrapping:
    """The outcome of a round of calls: what to write, and which wallets to try again."""

    round: Round
    delayed: Sequence[Delayed]

    @property
    def throttled(self) -> KmsThrottled | None:
        """The error by which KMS asked for a slower pace, if there was one."""
        errors = (each.error for each in self.delayed)
        return next((error for error in errors if isinstance(error, KmsThrottled)), None)

    @property
    def refused(self) -> KmsKeyUnusable | None:
        """A refusal, if the round met nothing else: the source or all destinations are unusable.

        That is no wallet's fault.
        """
        errors = [each.error for each in self.delayed if isinstance(each.error, KmsKeyUnusable)]
        return errors[0] if errors and len(errors) == len(self.delayed) and not self.round.moved else None

    @property
    def fruitless(self) -> bool:
        """Whether KMS served no call at all."""
        return not self.round.moved and not self.round.failed


class Rewrapper:
    """Moves DEKs to other keys, a few at a time, so that requests hardly notice."""

    def __init__(self, kms: AwsKmsService, calls_at_once: int) -> None:
        self._kms = kms
        self.calls_at_once = calls_at_once

    async def rewrap(self, wallets: Sequence[DueWallet], destinations: Sequence[str]) -> Rewrapping:
        """Have KMS move each wallet's DEK to a destination picked at random. Nothing is stored yet."""

        async def one(wallet: DueWallet) -> tuple[MovedWallet | FailedWallet | Delayed, int]:
            return await self._move_one(wallet, destinations)

        attempts = await map_bounded(one, wallets, self.calls_at_once)
        outcomes = [outcome for outcome, _ in attempts]
        round_ = Round(
            moved=[outcome for outcome in outcomes if isinstance(outcome, MovedWallet)],
            failed=[outcome for outcome in outcomes if isinstance(outcome, FailedWallet)],
            kms_calls=sum(calls for _, calls in attempts),
        )
        return Rewrapping(round_, [outcome for outcome in outcomes if isinstance(outcome, Delayed)])

    async def answers(self, key_arn: str) -> bool:
        """Whether KMS answers at all; it is asked about one key."""
        try:
            await self._kms.describe(key_arn)
        except KmsKeyUnusable:
            return True
        except KmsError:
            return False
        return True

    async def _move_one(
        self, wallet: DueWallet, destinations: Sequence[str]
    ) -> tuple[MovedWallet | FailedWallet | Delayed, int]:
        delayed: Delayed | None = None
        chosen = secrets.SystemRandom().sample(destinations, min(DESTINATIONS_TRIED, len(destinations)))
        for calls, destination in enumerate(chosen, start=1):
            try:
                return await self._move(wallet, destination), calls
            except IntegrityFailure as error:
                return _report_failure(wallet, error), calls
            except KmsError as error:
                delayed = Delayed(wallet, error)
                if not isinstance(error, KmsKeyUnusable):
                    return delayed, calls
        assert delayed is not None  # noqa: S101 # there is at least one destination
        return delayed, len(chosen)

    async def _move(self, wallet: DueWallet, destination: str) -> MovedWallet:
        context = encryption_context(wallet.wallet_address)
        rewrapped = await self._kms.re_encrypt(wallet.dek, context, destination, context)
        return MovedWallet(wallet, rewrapped.dek, rewrapped.key_material_id)


def _report_failure(wallet: DueWallet, error: IntegrityFailure) -> FailedWallet:
    metrics.integrity_failures.inc()
    log.error("integrity_failure", userId=wallet.user_id, key=wallet.dek.key_arn, reason=error.reason)
    return FailedWallet(wallet, error.code, error.reason)
