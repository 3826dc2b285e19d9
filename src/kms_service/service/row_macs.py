"""The keyring of row MACs of one process: its keys are unwrapped once, and maintained while it runs.

The keys are random, and only KMS unwraps them: whoever can write the database cannot make a MAC that passes.
Each key is wrapped by several KMS keys, so that the service does not depend on a single one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from uuid import UUID

from kms_service.crypto.envelope import new_data_key
from kms_service.crypto.material import DataKey
from kms_service.crypto.row_mac import RowMacKeyring, key_id
from kms_service.errors import IntegrityFailure, KmsError, KmsKeyUnusable, KmsUnavailable, NoUsableKey
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.keys import arn
from kms_service.kms.pool import KeyMode, KmsKeyPool
from kms_service.store.row_mac_keys import RowMacKeyStore, StoredMacKey
from kms_service.telemetry.logs import get_logger

CONTEXT = {"purpose": "row-mac"}
ROW_MAC_SECONDS = 2.0
# Well below the minute after which a new key makes MACs: by then every process has learnt the key.
TENDING_SECONDS = 10.0
# How many KMS keys wrap each key, if the pool has that many.
WRAPPED_BY = 3
# How many runs pass before a key that KMS refused is tried again: it may be enabled by then, or be forged.
_LOOKS_PASSED_OVER = 30

log = get_logger()


class RowMacs:
    """Holds the keyring from its first use to the end of the process, and owns the secrets."""

    def __init__(self, store: RowMacKeyStore, kms: AwsKmsService, pool: KmsKeyPool) -> None:
        self._store = store
        self._kms = kms
        self._pool = pool
        self._ring: RowMacKeyring | None = None
        self._keys: dict[UUID, DataKey] = {}
        self._passed_over: dict[UUID, int] = {}
        self._loading = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the keys are unwrapped, so that MACs need no KMS call any more."""
        return self._ring is not None

    def current(self) -> RowMacKeyring | None:
        """The keyring; None while it is not loaded."""
        return self._ring

    async def keyring(self) -> RowMacKeyring:
        """The keyring; the first call has KMS unwrap each key, once in the life of a process.

        Raises:
            IntegrityFailure: no stored key is what KMS wrapped.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable, NoUsableKey: KMS did not serve the call.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if self._ring is None:
            # One at a time: else each of a process's first requests would ask KMS.
            async with self._loading:
                if self._ring is None:
                    self._ring = await self._load()
        return self._ring

    async def heal(self) -> None:
        """Load the keyring if that failed at start, or log why not; run regularly.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if self._ring is None:
            await self.try_to_load()

    async def try_to_load(self) -> None:
        """Load the keyring, or log why not; the process is not ready until it is loaded.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        with _log_failure("row_mac_keys_not_loaded"):
            await self.keyring()

    async def tend(self) -> None:
        """Learn new keys, make one after a rotation, and have enough KMS keys wrap each; run regularly.

        A rotation that empties a KMS key causes a new key of row MACs, so that what that KMS key could unwrap
        makes no more MACs. The MACs it has made still pass.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if self._ring is None:
            return
        with _log_failure("row_mac_keys_not_tended"):
            # 1. Keys that other processes made: their MACs pass from now on.
            stored = await self._store.read()
            self._ring = await self._learn(stored)
            held = [key for key in stored if key.key_id in self._keys]
            # 2. The newest key that is held decides, so that a forged row behind it neither causes nor
            #    prevents a new key. It makes no MACs before it has settled, when every process knows it.
            if await self._store.was_left(wrapping_keys(held[-1], self._kms.region), held[-1].made_at):
                await self._make([key.number for key in stored], behind=held[-1].number)
            # 3. Enough wrappings of each key, so that the loss of one KMS key loses no key of row MACs.
            for key in held:
                await self._wrap_by_others(key)

    async def _load(self) -> RowMacKeyring:
        stored = await self._store.read()
        if not stored:
            await self._make([], behind=0)
            stored = await self._store.read()
            for key in stored:
                await self._wrap_by_others(key)
        return await self._learn(stored)

    async def _make(self, taken: Sequence[int], *, behind: int) -> None:
        """Make a key of row MACs; if several processes do, the first one's key counts for all."""
        number = next(n for n in range(behind + 1, behind + len(taken) + 2) if n not in taken)
        key = new_data_key()
        wrapped = await self._pool.wrap(key, CONTEXT)
        if await self._store.add(number, 1, key_id(key), wrapped.dek):
            self._keys[key_id(key)] = key
            log.info("row_mac_key_made", number=number, key=wrapped.dek.key_arn)

    async def _wrap_by_others(self, key: StoredMacKey) -> None:
        """Have more keys of the pool wrap this key, until enough keys that are not draining do."""
        if key.key_id not in self._keys:
            return
        staying = {each.key_arn for each in self._pool.described if each.mode is KeyMode.ACTIVE}
        possible = {each.key_arn for each in self._pool.wrapping}
        holding = set(wrapping_keys(key, self._kms.region))
        for wrapping in count(key.next_wrapping):
            enough = min(WRAPPED_BY, len(possible | (holding & staying)))
            if len(holding & staying) >= enough:
                return
            wrapped = await self._pool.wrap(self._keys[key.key_id], CONTEXT, apart_from=holding)
            if not await self._store.add(key.number, wrapping, key.key_id, wrapped.dek):
                return  # another process is doing the same
            holding.add(arn.in_region(wrapped.dek.key_arn, self._kms.region))

    async def _learn(self, stored: Sequence[StoredMacKey]) -> RowMacKeyring:
        """Unwrap the keys that this process does not have yet, and choose the one that makes MACs."""
        refusal: KmsError | IntegrityFailure | None = None
        for key in stored:
            if key.key_id not in self._keys and not self._is_passed_over(key):
                try:
                    self._keys[key.key_id] = await self._unwrap(key)
                except (KmsKeyUnusable, IntegrityFailure) as error:
                    # Rows with its MACs do not pass, but others must: a server's login can insert false keys.
                    log.error("row_mac_key_refused", number=key.number, code=error.code, reason=error.reason)
                    self._passed_over[key.key_id] = _LOOKS_PASSED_OVER
                    refusal = error
        held = [key for key in stored if key.key_id in self._keys]
        if not held:
            raise refusal or IntegrityFailure("no key of row MACs")
        making = next((key for key in reversed(held) if key.settled), held[0])
        return RowMacKeyring(making.key_id, self._keys)

    def _is_passed_over(self, key: StoredMacKey) -> bool:
        looks = self._passed_over.get(key.key_id, 0)
        if not looks or self._ring is None:
            return False
        self._passed_over[key.key_id] = looks - 1
        return True

    async def _unwrap(self, key: StoredMacKey) -> DataKey:
        """The key, unwrapped by the first KMS key that can; draining ones are tried last, so they fall idle.

        Raises:
            KmsThrottled, KmsUnavailable: KMS did not answer; a later attempt may succeed.
            KmsKeyUnusable, IntegrityFailure: all of them refused, or what was unwrapped is another key.
        """
        failure: KmsError | IntegrityFailure = IntegrityFailure("not the key that its id tells of")
        region = self._kms.region
        places = {each.key_arn: int(each.mode is not KeyMode.ACTIVE) for each in self._pool.described}
        for wrapped in sorted(
            key.wrappings, key=lambda each: places.get(arn.in_region(each.key_arn, region), 2)
        ):
            try:
                unwrapped = (await self._kms.decrypt(wrapped, CONTEXT)).dek
            except (KmsKeyUnusable, KmsUnavailable, IntegrityFailure) as error:
                # A failure that may pass later counts for more than a refusal.
                if not isinstance(failure, KmsUnavailable):
                    failure = error
                continue
            if key_id(unwrapped) == key.key_id or _is_of_release_0_1(key):
                return unwrapped
        raise failure


def _is_of_release_0_1(key: StoredMacKey) -> bool:
    """Whether the key's id is random, as release 0.1 made it for its only key, instead of derived.

    Such an id does not show whether an unwrapped key is the right one. Only the order does: its own wrappings
    were inserted first, and come first here too. A false one after them counts only once KMS opens none of
    those any more. Then MACs fail, and nothing is granted.
    """
    return key.number == 1 and key.key_id.version == 4  # noqa: PLR2004 - RFC 9562, random


def wrapping_keys(key: StoredMacKey, region: str) -> frozenset[str]:
    """The KMS keys that wrap a key of row MACs, by their ARNs in this Region, whichever Region wrapped it."""
    return frozenset(arn.in_region(wrapped.key_arn, region) for wrapped in key.wrappings)


@contextmanager
def _log_failure(event: str) -> Iterator[None]:
    try:
        yield
    except (KmsError, NoUsableKey, IntegrityFailure) as error:
        reason = None if isinstance(error, NoUsableKey) else error.reason
        log.error(event, code=error.code, reason=reason)
