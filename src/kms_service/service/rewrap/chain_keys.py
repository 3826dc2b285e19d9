"""Rewraps the MAC keys of audit chains, so that the log can still be verified after a KMS key is retired."""

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
        """Move every chain's MAC key that a source wraps to a destination; returns how many. Safe to repeat.

        Chains are few, since a process opens only a handful, so the calls are not paced.

        Raises:
            IntegrityFailure: a chain's row was changed.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve a call; what moved stays moved.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        moved = 0
        while page := await self._store.list_under(sources):
            for key in page:
                destination = secrets.choice(destinations)
                rewrapped = await self._kms.re_encrypt(key.wrapped, CONTEXT, destination, CONTEXT)
                await self._store.add(AuditChainKey(key.audit_chain_id, rewrapped.dek))
                moved += 1
        return moved
