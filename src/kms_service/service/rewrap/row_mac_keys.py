"""Re-wrapping the keys of row MACs, so that a retired KMS key leaves no wallet's address unsaid."""

import secrets
from collections.abc import Sequence

from kms_service.kms.aws import AwsKmsService
from kms_service.service.row_macs import CONTEXT
from kms_service.store.row_mac_keys import RowMacKeyStore, StoredMacKey


class RowMacKeyRewrapper:
    """Moves keys of row MACs to other KMS keys by kms:ReEncrypt (invariant 7).

    Running processes keep the key that they have unwrapped: it is the same one.
    """

    def __init__(self, store: RowMacKeyStore, kms: AwsKmsService) -> None:
        self._store = store
        self._kms = kms

    async def rewrap(self, sources: Sequence[str], destinations: Sequence[str]) -> int:
        """Move every key that a source wraps; answers how many. Repeating it finds nothing more.

        Raises:
            IntegrityFailure: a row was changed.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call; what was moved stays so.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        moved = 0
        for key in await self._store.newest():
            if key.wrapped.key_arn in sources:
                destination = secrets.choice(destinations)
                rewrapped = await self._kms.re_encrypt(key.wrapped, CONTEXT, destination, CONTEXT)
                # False when another worker has moved it meanwhile, which is as good.
                await self._store.add(StoredMacKey(key.number, key.wrapping + 1, key.key_id, rewrapped.dek))
                moved += 1
        return moved
