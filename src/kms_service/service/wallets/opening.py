"""Opening a stored wallet: the one road from a row to a private key, with its four checks (invariant 4)."""

from dataclasses import dataclass

from kms_service import ethereum
from kms_service.crypto import envelope
from kms_service.errors import IntegrityFailure, KmsError
from kms_service.ethereum import Account
from kms_service.kms.aws import AwsKmsService
from kms_service.store.wallets.find import SealedWallet
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

log = get_logger()


def encryption_context(wallet_address: str) -> dict[str, str]:
    """KMS's EncryptionContext of a wallet's DEK; names no key, so that kms:ReEncrypt can move it."""
    return {"purpose": "wallet-dek", "wallet_address": wallet_address}


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened wallet: its account, a secret of the caller's frame, and the KMS request that opened it."""

    account: Account
    kms_request_id: str | None


class WalletOpener:
    """Opens wallets; caches nothing: one opening is one kms:Decrypt."""

    def __init__(self, kms: AwsKmsService) -> None:
        self._kms = kms

    async def open(self, wallet: SealedWallet) -> Opened:
        """The account sealed in a row, if everything about the row holds together.

        Checked: KMS answered for the row's key, with 32 bytes; the tag holds for this user and address; the
        address derived again is the row's.

        Raises:
            IntegrityFailure: one of these does not hold; which one is only logged.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        try:
            opened = await self._opened(wallet)
        except IntegrityFailure as error:
            metrics.wallet_opens.labels(error.code).inc()
            metrics.integrity_failures.inc()
            log.error("integrity_failure", userId=wallet.user_id, key=wallet.dek.key_arn, reason=error.reason)
            raise
        except KmsError as error:
            metrics.wallet_opens.labels(error.code).inc()
            log.warning(
                "wallet_not_opened",
                userId=wallet.user_id,
                key=wallet.dek.key_arn,
                code=error.code,
                reason=error.reason,
            )
            raise
        metrics.wallet_opens.labels("ok").inc()
        return opened

    async def _opened(self, wallet: SealedWallet) -> Opened:
        unwrapped = await self._kms.decrypt(wallet.dek, encryption_context(wallet.wallet_address))
        try:
            mnemonic = envelope.open_(
                wallet.encrypted_seed,
                unwrapped.dek,
                user_id=wallet.user_id,
                wallet_address=wallet.wallet_address,
            )
            return Opened(_matching(ethereum.derive(mnemonic), wallet.wallet_address), unwrapped.request_id)
        except IntegrityFailure as error:
            error.kms_request_id = unwrapped.request_id
            raise


def _matching(account: Account, wallet_address: str) -> Account:
    if account.address != wallet_address:
        raise IntegrityFailure("address")
    return account
