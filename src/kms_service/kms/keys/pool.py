"""The pool of customer managed keys: which of them may wrap a new DEK, and the choice among them.

Aliases are looked up here, at start and at refresh, and nowhere else: everything stored names an ARN
(invariant 5).
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from kms_service import deadline
from kms_service.crypto.material import DataKey
from kms_service.errors import KmsError, KmsKeyUnusable, KmsUnavailable, NoUsableKey
from kms_service.kms.aws import AwsKmsService, Rotation, Wrapped
from kms_service.kms.control_plane.client import CONNECT_SECONDS, READ_SECONDS
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.keys.health import OWN_REASONS, KeyHealth
from kms_service.kms.keys.info import KeyMode, KeyStatus, KmsKeyInfo, status_of
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

__all__ = ["KEYS_TRIED", "KeyMode", "KeyStatus", "KmsKeyInfo", "KmsKeyPool"]

KEYS_TRIED = 3
# How long real traffic has to try a key whose pause is over, before DescribeKey does.
IDLE_SECONDS = 3.0
# How often a key is looked at again that DescribeKey found out of order, or that KMS told nothing of.
BROKEN_SECONDS = 10.0
_DESCRIBING_THREADS = 10

log = get_logger()


class KmsKeyPool:
    """The keys behind the pool's aliases, and a choice among the usable ones by the system's generator."""

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
        # As described; circuits and modes are joined in `keys`.
        self._described: dict[str, KmsKeyInfo] = {}
        self._described_at: dict[str, float] = {}

    @property
    def keys(self) -> tuple[KmsKeyInfo, ...]:
        """Every key of the pool, in the order of the aliases' numbers."""
        return tuple(self._joined(self._described[alias]) for alias in self._aliases if self._described)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each key that takes no new wallets does not, by alias."""
        return {key.alias: key.reason or key.mode for key in self.keys if not key.wraps}

    def set_draining(self, aliases: frozenset[str]) -> None:
        """From now on exactly these keys are draining."""
        if aliases != self._draining:
            log.info("pool_modes_changed", draining=sorted(aliases))
        self._draining = aliases

    def refresh(self) -> None:
        """Describe every alias again, all at once; a key that fails becomes unusable, none raises.

        Whatever DescribeKey finds in order may wrap again at once.
        """
        self._look_at(self._aliases, vouch=True)
        self._report()

    def heal(self) -> None:
        """Describe again the keys that are out of order; run every second or two.

        A key whose circuit opened is described once at once, to learn its state; and once more when its pause
        is over and no request has tried it.
        """
        self._look_at([key.alias for key in self.keys if self._needs_a_look(key)], vouch=False)
        self._report()

    def wrap(self, dek: DataKey, context: Mapping[str, str]) -> Wrapped:
        """Have KMS encrypt a DEK under a key picked at random; another key when the first one fails.

        Raises:
            KmsThrottled: the account is throttled; siblings share its quota (invariant 6).
            NoUsableKey: no key is usable, or the tried ones failed; names each with its reason.
        """
        failed: dict[str, str] = {}
        tried = 0
        for key in self._candidates():
            if tried == KEYS_TRIED or (failed and not deadline.allows(CONNECT_SECONDS + READ_SECONDS)):
                break
            try:
                return self._kms.encrypt(str(key.key_arn), dek, context)
            except (KmsKeyUnusable, KmsUnavailable) as error:
                log.warning("key_failed", key=key.alias, reason=error.reason)
                failed[key.alias] = error.reason
                tried += error.reason not in OWN_REASONS
        raise NoUsableKey({key.alias: "not tried" for key in self.keys} | self.reasons | failed)

    def _candidates(self) -> list[KmsKeyInfo]:
        usable = [key for key in self._described.values() if self._may_wrap(key)]
        secrets.SystemRandom().shuffle(usable)
        usable.sort(key=lambda key: self._health.busy(str(key.key_arn)))
        return usable

    def _may_wrap(self, key: KmsKeyInfo) -> bool:
        return (
            key.status is KeyStatus.ACTIVE
            and key.alias not in self._draining
            and self._health.admits(str(key.key_arn))
        )

    def _joined(self, key: KmsKeyInfo) -> KmsKeyInfo:
        mode = KeyMode.DRAINING if key.alias in self._draining else KeyMode.ACTIVE
        if key.key_arn is None:
            return replace(key, mode=mode)
        circuit, _, reason = self._health.circuit(key.key_arn)
        if circuit is CircuitState.CLOSED or key.status is not KeyStatus.ACTIVE:
            return replace(key, mode=mode, circuit=circuit)
        status = KeyStatus.DISABLED if reason == "DisabledException" else KeyStatus.UNAVAILABLE
        return replace(key, mode=mode, circuit=circuit, status=status, reason=reason)

    def _needs_a_look(self, key: KmsKeyInfo) -> bool:
        looked_at = self._described_at[key.alias]
        if key.circuit is not CircuitState.CLOSED and key.key_arn is not None:
            if looked_at < self._health.opened_at(key.key_arn):
                return True
            return key.circuit is CircuitState.HALF_OPEN and self._clock() > looked_at + IDLE_SECONDS
        in_order = key.status is KeyStatus.ACTIVE and key.silent_since is None
        return not in_order and self._clock() > looked_at + BROKEN_SECONDS

    def _look_at(self, aliases: Sequence[str], *, vouch: bool) -> None:
        if not aliases:
            return
        with ThreadPoolExecutor(min(len(aliases), _DESCRIBING_THREADS)) as executor:
            seen = dict(zip(aliases, executor.map(self._describe, aliases), strict=True))
        for key in seen.values():
            if key.status is KeyStatus.ACTIVE and (vouch or self._pause_is_over(key)):
                self._health.vouch(str(key.key_arn))
        # In the aliases' order, and replaced as a whole: requests read it without a lock.
        known = {**self._described, **seen}
        self._described = {alias: known[alias] for alias in self._aliases}

    def _describe(self, alias: str) -> KmsKeyInfo:
        before = self._described.get(alias)
        self._described_at[alias] = self._clock()
        self._kms.label(alias, alias)
        try:
            metadata = self._kms.describe(alias)
        except KmsError as error:
            return _undescribed(alias, before, error)
        key_arn = str(metadata["Arn"])
        self._kms.label(key_arn, alias)
        status, reason = status_of(metadata)
        return KmsKeyInfo(
            alias,
            key_arn,
            status,
            reason,
            metadata.get("CreationDate"),
            rotation=self._rotation(key_arn),
            moved_from=_moved_from(before, key_arn),
            told_at=datetime.now(UTC),
        )

    def _pause_is_over(self, key: KmsKeyInfo) -> bool:
        return self._health.circuit(str(key.key_arn))[0] is not CircuitState.OPEN

    def _rotation(self, key_arn: str) -> Rotation | None:
        try:
            return self._kms.rotation(key_arn)
        except KmsError as error:
            log.debug("rotation_unknown", key=key_arn, reason=error.reason)
            return None

    def _report(self) -> None:
        keys = self.keys
        for status in KeyStatus:
            metrics.pool_keys.labels(status.value).set(sum(key.status is status for key in keys))
        for key in keys:
            for status in KeyStatus:
                metrics.key_status.labels(key.alias, status.value).set(key.status is status)
            metrics.circuit_open.labels(key.alias).set(key.circuit is not CircuitState.CLOSED)
            metrics.key_draining.labels(key.alias).set(key.mode is KeyMode.DRAINING)
            rotates = key.rotation is not None and key.rotation.enabled
            metrics.key_rotation_enabled.labels(key.alias).set(rotates)


def _undescribed(alias: str, before: KmsKeyInfo | None, error: KmsError) -> KmsKeyInfo:
    # Only a refusal is the key's fault; of what KMS did not answer the last word stands (invariant 6).
    now = datetime.now(UTC)
    key_arn = None if before is None else before.key_arn
    refused = KmsKeyInfo(alias, key_arn, KeyStatus.UNAVAILABLE, error.reason, None, told_at=now)
    if isinstance(error, KmsKeyUnusable):
        return refused
    silent_since = (before and before.silent_since) or now
    if before is None or before.key_arn is None:
        return replace(refused, told_at=None, silent_since=silent_since)
    return replace(before, silent_since=silent_since)


def _moved_from(before: KmsKeyInfo | None, key_arn: str) -> str | None:
    if before is None or before.key_arn is None or before.key_arn == key_arn:
        return None if before is None else before.moved_from
    log.warning("alias_moved", key=before.alias, before=before.key_arn, now=key_arn)
    return before.key_arn
