"""Rewraps the keys of row MACs, so that addresses can still be checked after a KMS key is retired."""

import secrets
from collections.abc import Sequence

from kms_service.kms.aws import AwsKmsService
from kms_service.kms.keys import arn
from kms_service.service.row_macs import CONTEXT, wrapping_keys
from kms_service.store.row_mac_keys import RowMacKeyStore


class RowMacKeyRewrapper:
    """Moves keys of row MACs to other KMS keys by kms:ReEncrypt (invariant 7).

    Running processes keep the keys they have unwrapped, which do not change. They also make the new key that
    makes MACs from then on (`RowMacs.tend`), since a worker never holds such a key.
    """

    def __init__(self, store: RowMacKeyStore, kms: AwsKmsService) -> None:
        self._store = store
        self._kms = kms

    async def rewrap(self, sources: Sequence[str], destinations: Sequence[str]) -> int:
        """Move every key that a source wraps and no destination does; returns how many. Safe to repeat.

        Raises:
            IntegrityFailure: a row was changed.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve a call; what moved stays moved.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        moved = 0
        for key in await self._store.read():
            region = self._kms.region
            wrapped = next(
                (each for each in key.wrappings if arn.in_region(each.key_arn, region) in sources), None
            )
            if wrapped is not None and not wrapping_keys(key, region).intersection(destinations):
                destination = secrets.choice(destinations)
                rewrapped = await self._kms.re_encrypt(wrapped, CONTEXT, destination, CONTEXT)
                # False if another worker has moved it meanwhile, which is just as good.
                await self._store.add(key.number, key.next_wrapping, key.key_id, rewrapped.dek)
                moved += 1
        return moved
