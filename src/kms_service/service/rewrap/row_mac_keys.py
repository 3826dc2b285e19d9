"""Re-wrapping the keys of row MACs, so that a retired KMS key leaves no wallet's address unsaid."""

import secrets
from collections.abc import Sequence

from kms_service.kms.aws import AwsKmsService
from kms_service.kms.keys import arn
from kms_service.service.row_macs import CONTEXT, wrapped_by
from kms_service.store.row_mac_keys import RowMacKeyStore


class RowMacKeyRewrapper:
    """Moves keys of row MACs to other KMS keys by kms:ReEncrypt (invariant 7).

    Running processes keep the key that they have unwrapped: it is the same one. That new MACs are made under
    another from then on is for them to see to (`RowMacs.tend`): a worker never holds such a key.
    """

    def __init__(self, store: RowMacKeyStore, kms: AwsKmsService) -> None:
        self._store = store
        self._kms = kms

    async def rewrap(self, sources: Sequence[str], destinations: Sequence[str]) -> int:
        """Move every key that a source wraps and no destination; answers how many. Repeated, it finds none.

        Raises:
            IntegrityFailure: a row was changed.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call; what was moved stays so.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        moved = 0
        for key in await self._store.read():
            region = self._kms.region
            wrapped = next(
                (each for each in key.wrappings if arn.in_region(each.key_arn, region) in sources), None
            )
            if wrapped is not None and not wrapped_by(key, region).intersection(destinations):
                destination = secrets.choice(destinations)
                rewrapped = await self._kms.re_encrypt(wrapped, CONTEXT, destination, CONTEXT)
                # False when another worker has moved it meanwhile, which is as good.
                await self._store.add(key.number, key.next_wrapping, key.key_id, rewrapped.dek)
                moved += 1
        return moved
