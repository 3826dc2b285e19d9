"""Re-wrapping the MAC keys of audit chains, so that a retired key leaves no part of the log unverifiable."""

import secrets
from collections.abc import Sequence

from kms_service.kms.aws import AwsKmsService
from kms_service.service.audit.chains import CONTEXT
from kms_service.store.audit.chain_keys import AuditChainKey, AuditChainKeyStore


class AuditChainRewrapper:
    """Moves chains' MAC keys to other KMS keys by kms:ReEncrypt (invariant 7)."""

    def __init__(self, store: AuditChainKeyStore, kms: AwsKmsService) -> None:
        self._store = store
        self._kms = kms

    async def rewrap(self, sources: Sequence[str], destinations: Sequence[str]) -> int:
        """Move every chain's key that a source wraps; answers how many. Repeating it finds nothing more.

        A chain is opened by a process now and then, so they are few: no pace is kept.

        Raises:
            IntegrityFailure: a chain's row was changed.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call; what was moved stays so.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        moved = 0
        while page := await self._store.under(sources):
            for key in page:
                destination = secrets.choice(destinations)
                rewrapped = await self._kms.re_encrypt(key.wrapped, CONTEXT, destination, CONTEXT)
                await self._store.add(AuditChainKey(key.audit_chain_id, rewrapped.dek))
                moved += 1
        return moved
