"""The keyring of row MACs of one process: its keys unwrapped once, the first one made where there is none.

The keys are random, and only KMS unwraps them: whoever writes the database cannot make a MAC that passes.
"""

import asyncio
import uuid

from kms_service.crypto.envelope import new_data_key
from kms_service.crypto.row_mac import RowMacKey, RowMacKeyring
from kms_service.errors import IntegrityFailure, KmsError, NoUsableKey
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.keys.pool import KmsKeyPool
from kms_service.store.row_mac_keys import RowMacKeyStore, StoredMacKey
from kms_service.telemetry.logs import get_logger

CONTEXT = {"purpose": "row-mac"}
HEALING_SECONDS = 2.0

log = get_logger()


class RowMacs:
    """Holds the keyring, from its first use to the end of the process. It owns the secrets."""

    def __init__(self, store: RowMacKeyStore, kms: AwsKmsService, pool: KmsKeyPool) -> None:
        self._store = store
        self._kms = kms
        self._pool = pool
        self._ring: RowMacKeyring | None = None
        self._loading = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the keys are here, so that MACs cost no KMS call any more."""
        return self._ring is not None

    async def keyring(self) -> RowMacKeyring:
        """The keyring; its first call asks KMS for each key, once in the life of a process.

        Raises:
            IntegrityFailure: a stored key is not what KMS wrapped.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable, NoUsableKey: KMS did not serve the call.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if self._ring is None:
            # One at a time, or the first requests of a process would each ask KMS.
            async with self._loading:
                if self._ring is None:
                    self._ring = await self._load()
        return self._ring

    async def heal(self) -> None:
        """Load the keyring if KMS did not serve it at start; run regularly."""
        if self._ring is None:
            await self.try_to_load()

    async def try_to_load(self) -> None:
        """Load the keyring, or log why not; the process is not ready until it is there.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        try:
            await self.keyring()
        except (KmsError, NoUsableKey, IntegrityFailure) as error:
            reason = None if isinstance(error, NoUsableKey) else error.reason
            log.error("row_mac_keys_not_loaded", code=error.code, reason=reason)

    async def _load(self) -> RowMacKeyring:
        stored = await self._store.newest()
        if not stored:
            await self._make_first()
            stored = await self._store.newest()
        return RowMacKeyring(
            [RowMacKey(each.key_id, (await self._kms.decrypt(each.wrapped, CONTEXT)).dek) for each in stored]
        )

    async def _make_first(self) -> None:
        # Whichever process comes first: the others read what that one made.
        wrapped = await self._pool.wrap(new_data_key(), CONTEXT)
        if await self._store.add(StoredMacKey(1, 1, uuid.uuid4(), wrapped.dek)):
            log.info("row_mac_key_made", key=wrapped.dek.key_arn)
