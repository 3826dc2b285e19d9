"""The pool of customer managed keys: which of them may wrap a new DEK, and the choice among them.

Aliases are looked up only here, at start and at refresh: everything stored names an ARN (invariant 5).
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kms_service.context import has_time_for
from kms_service.crypto.material import DataKey
from kms_service.errors import KmsError, KmsKeyUnusable, KmsUnavailable, NoUsableKey
from kms_service.kms.answers import KeyMetadata, KeyRotation, Wrapped
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.data_plane.attempts import ATTEMPT_SECONDS
from kms_service.kms.errors import KmsAccessDenied, KmsCallNotMade, KmsKeyMissing
from kms_service.kms.keys import arn, gauges
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.keys.info import (
    DescribedKey,
    KeyMode,
    KeyStatus,
    KmsKeyInfo,
    UnknownKey,
    status_of,
)
from kms_service.kms.regions.routes import RegionState
from kms_service.telemetry.logs import get_logger

__all__ = ["KEYS_TRIED", "DescribedKey", "KeyMode", "KeyStatus", "KmsKeyInfo", "KmsKeyPool", "UnknownKey"]

KEYS_TRIED = 3
# How long real traffic has to try a key after its pause, before DescribeKey tries it.
IDLE_SECONDS = 3.0
# How often a key is described again that is not usable, or about which KMS did not answer.
BROKEN_SECONDS = 10.0
# If two keys fail in a row, others may fail too: all are described, but no more often than this.
WHOLE_POOL_SECONDS = 5.0
_FAIL_TOGETHER = 2
_DESCRIBED_AT_ONCE = 10

log = get_logger()


class KmsKeyPool:
    """The keys of the pool's aliases, and a random choice among the usable ones.

    It belongs to one event loop.
    """

    def __init__(
        self,
        kms: AwsKmsService,
        aliases: Sequence[str],
        health: KeyHealth,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kms = kms
        self._aliases = tuple(aliases)
        self._health = health
        self._clock = clock
        self._draining: frozenset[str] = frozenset()
        # As described; `keys` adds circuits and modes.
        self._described: dict[str, KmsKeyInfo] = {}
        self._described_at: dict[str, float] = {}
        self._all_looked_at = self._hurried_at = -WHOLE_POOL_SECONDS

    @property
    def keys(self) -> tuple[KmsKeyInfo, ...]:
        """Every key of the pool, in the order of the aliases' numbers."""
        return tuple(self._join(self._described[alias]) for alias in self._aliases if self._described)

    @property
    def reasons(self) -> dict[str, str]:
        """Why a key takes no new wallets, by alias, for each key that takes none."""
        return {key.alias: key.reason or key.mode for key in self.keys if not key.wraps}

    @property
    def regions(self) -> tuple[RegionState, ...]:
        """The Regions of its keys; the one that is asked first comes first."""
        return self._kms.regions.states

    @property
    def credentials_problem(self) -> str | None:
        """Why there are no valid credentials, so that no key can be asked; None while there are some."""
        return self._kms.credentials_problem

    @property
    def described(self) -> tuple[DescribedKey, ...]:
        """The keys whose alias has been resolved at least once."""
        return tuple(key for key in self.keys if isinstance(key, DescribedKey))

    @property
    def wrapping(self) -> tuple[DescribedKey, ...]:
        """The keys that new wallets may be put under now."""
        return tuple(key for key in self.described if key.wraps)

    def find(self, name: str) -> KmsKeyInfo | None:
        """The key with this alias, given with or without `alias/`; None if no key of the pool has it."""
        return next((key for key in self.keys if name in {key.alias, key.name}), None)

    def set_draining(self, aliases: frozenset[str]) -> None:
        """Make exactly these keys the draining ones."""
        if aliases != self._draining:
            log.info("pool_modes_changed", draining=sorted(aliases))
        self._draining = aliases

    async def refresh(self) -> None:
        """Describe every alias again, several at a time. A key that KMS refuses becomes unusable.

        A key that DescribeKey finds usable may wrap again at once, even if its circuit was open. A failure of
        KMS is noted on the key, and never raised.
        """
        await self._look_at(self._aliases, vouch=True)
        gauges.show(self.keys)

    async def heal(self) -> None:
        """Describe again the keys that are not usable; run every second or two.

        A key whose circuit opened is described at once, to learn its state, and once more after its pause if
        no request has tried it. If several circuits opened, every key is described: if the whole pool is
        disabled, that is known before requests have tried each key.
        """
        if self._fails_as_a_whole():
            self._hurried_at = self._clock()
            await self._look_at(self._aliases, vouch=False)
        else:
            await self._look_at([key.alias for key in self.keys if self._needs_a_look(key)], vouch=False)
        gauges.show(self.keys)

    async def wrap(
        self, dek: DataKey, context: Mapping[str, str], *, apart_from: Collection[str] = ()
    ) -> Wrapped:
        """Have KMS encrypt a DEK under a key picked at random; if that key fails, under another.

        Args:
            dek: the data key; the caller owns the secret.
            context: the encryption context.
            apart_from: ARNs of keys not to use, since they wrap it already.

        Raises:
            KmsThrottled: the account is throttled; other keys share its quota (invariant 6).
            NoUsableKey: no key is usable, or those tried failed; names each key with its reason.
        """
        failed: dict[str, str] = {}
        tried = 0
        for key in self._candidates():
            if key.key_arn in apart_from:
                continue
            if tried == KEYS_TRIED or (failed and not has_time_for(ATTEMPT_SECONDS)):
                break
            try:
                return await self._kms.encrypt(key.key_arn, dek, context)
            except (KmsKeyUnusable, KmsUnavailable) as error:
                log.warning("key_failed", key=key.alias, reason=error.reason)
                failed[key.alias] = error.reason
                tried += not isinstance(error, KmsCallNotMade)
        raise NoUsableKey({key.alias: "not tried" for key in self.keys} | self.reasons | failed)

    def _candidates(self) -> list[DescribedKey]:
        usable = [
            key for key in self._described.values() if isinstance(key, DescribedKey) and self._may_wrap(key)
        ]
        secrets.SystemRandom().shuffle(usable)
        usable.sort(key=lambda key: self._health.busy(key.key_arn))
        return usable

    def _may_wrap(self, key: DescribedKey) -> bool:
        return (
            key.status is KeyStatus.ACTIVE
            and key.alias not in self._draining
            and self._health.admits(key.key_arn)
        )

    def _join(self, key: KmsKeyInfo) -> KmsKeyInfo:
        mode = KeyMode.DRAINING if key.alias in self._draining else KeyMode.ACTIVE
        if isinstance(key, UnknownKey):
            return replace(key, mode=mode)
        circuit, _, reason = self._health.circuit(key.key_arn)
        if circuit is CircuitState.CLOSED or key.status is not KeyStatus.ACTIVE:
            return replace(key, mode=mode, circuit=circuit)
        status = KeyStatus.DISABLED if reason == "DisabledException" else KeyStatus.UNAVAILABLE
        return replace(key, mode=mode, circuit=circuit, status=status, reason=reason)

    def _needs_a_look(self, key: KmsKeyInfo) -> bool:
        looked_at = self._described_at[key.alias]
        if isinstance(key, DescribedKey) and key.circuit is not CircuitState.CLOSED:
            if looked_at < self._health.last_opening(key.key_arn):
                return True
            return key.circuit is CircuitState.HALF_OPEN and self._clock() > looked_at + IDLE_SECONDS
        in_order = key.status is KeyStatus.ACTIVE and key.silent_since is None
        return not in_order and self._clock() > looked_at + BROKEN_SECONDS

    def _fails_as_a_whole(self) -> bool:
        opened = [self._health.last_opening(key.key_arn) for key in self.described if _is_open(key)]
        lately = sum(at > self._all_looked_at for at in opened)
        return lately >= _FAIL_TOGETHER and self._clock() >= self._hurried_at + WHOLE_POOL_SECONDS

    async def _look_at(self, aliases: Sequence[str], *, vouch: bool) -> None:
        if aliases == self._aliases:
            self._all_looked_at = self._clock()
        at_once = asyncio.Semaphore(_DESCRIBED_AT_ONCE)

        async def look(alias: str) -> KmsKeyInfo:
            async with at_once:
                return await self._describe(alias)

        seen = dict(zip(aliases, await asyncio.gather(*map(look, aliases)), strict=True))
        for key in seen.values():
            if isinstance(key, DescribedKey) and key.usable and (vouch or self._pause_is_over(key)):
                self._health.vouch(key.key_arn)
        # In the order of the aliases, and replaced as a whole, so that no alias is ever missing meanwhile.
        known = {**self._described, **seen}
        self._described = {alias: known[alias] for alias in self._aliases if alias in known}

    async def _describe(self, alias: str) -> KmsKeyInfo:
        before = self._described.get(alias)
        self._described_at[alias] = self._clock()
        self._kms.label(alias, alias)
        try:
            metadata = await self._kms.describe(alias)
        except KmsError as error:
            return _info_after_error(alias, before, error)
        self._kms.label(metadata.arn, alias)
        status, reason = self._status(metadata)
        return DescribedKey(
            alias,
            metadata.arn,
            status,
            reason,
            metadata.created_at,
            rotation=await self._rotation(metadata.arn),
            moved_from=_detect_move(before, metadata.arn),
            told_at=datetime.now(UTC),
        )

    def _status(self, metadata: KeyMetadata) -> tuple[KeyStatus, str]:
        region = arn.region(metadata.arn)
        if region != self._kms.region:
            # Opening a wallet would refuse it, so no wallet may be created under it.
            return KeyStatus.UNAVAILABLE, f"is a key of {region}, not of {self._kms.region}"
        return status_of(metadata)

    def _pause_is_over(self, key: DescribedKey) -> bool:
        return self._health.circuit(key.key_arn)[0] is not CircuitState.OPEN

    async def _rotation(self, key_arn: str) -> KeyRotation | None:
        try:
            return await self._kms.rotation(key_arn)
        except KmsError as error:
            log.debug("rotation_unknown", key=key_arn, reason=error.reason)
            return None


def _is_open(key: DescribedKey) -> bool:
    return key.circuit is not CircuitState.CLOSED


def _info_after_error(alias: str, before: KmsKeyInfo | None, error: KmsError) -> KmsKeyInfo:
    # Only a refusal is the key's fault. If KMS did not answer, the last description stands (invariant 6).
    now = datetime.now(UTC)
    denied = isinstance(error, KmsAccessDenied)
    if isinstance(error, KmsKeyUnusable):
        if isinstance(before, DescribedKey):
            return DescribedKey(
                alias, before.key_arn, KeyStatus.UNAVAILABLE, error.reason, None, told_at=now, denied=denied
            )
        missing = isinstance(error, KmsKeyMissing)
        return UnknownKey(alias, error.reason, told_at=now, missing=missing, denied=denied)
    silent_since = (before and before.silent_since) or now
    if isinstance(before, DescribedKey):
        return replace(before, silent_since=silent_since)
    return UnknownKey(alias, error.reason, silent_since=silent_since)


def _detect_move(before: KmsKeyInfo | None, key_arn: str) -> str | None:
    if not isinstance(before, DescribedKey) or before.key_arn == key_arn:
        return None if before is None else before.moved_from
    log.warning("alias_moved", key=before.alias, before=before.key_arn, now=key_arn)
    return before.key_arn
