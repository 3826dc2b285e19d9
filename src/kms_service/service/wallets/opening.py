"""Opens stored wallets: the only way from a row to a private key, with four checks (invariant 4)."""

from dataclasses import dataclass

from kms_service import ethereum
from kms_service.crypto import envelope
from kms_service.crypto.envelope import PhraseSecret, WalletSecret
from kms_service.errors import IntegrityFailure, KmsError
from kms_service.ethereum import Account
from kms_service.kms.aws import AwsKmsService
from kms_service.store.wallets.find import EncryptedWallet
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

log = get_logger()


def encryption_context(wallet_address: str) -> dict[str, str]:
    """The EncryptionContext of a wallet's DEK; it names no key, so that kms:ReEncrypt can move the DEK."""
    return {"purpose": "wallet-dek", "wallet_address": wallet_address}


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened wallet, and what opened it. The caller owns the secrets, and keeps them in its own frame.

    Attributes:
        account: the private key's account.
        contents: what the envelope held.
        kms_key_id: the ARN of the KMS key, in the Region that answered.
        kms_request_id: the id of the KMS request; None if KMS gave none.
    """

    account: Account
    contents: PhraseSecret | WalletSecret
    kms_key_id: str
    kms_request_id: str | None


class WalletOpener:
    """Opens wallets. Nothing is cached: one opening is one kms:Decrypt."""

    def __init__(self, kms: AwsKmsService) -> None:
        self._kms = kms

    async def open(self, wallet: EncryptedWallet) -> Opened:
        """The account encrypted in a row, if all checks hold.

        KMS must have answered for the row's key, with 32 bytes; the tag must hold for this user and address;
        and the key's address must be the row's. Where the envelope holds the key, it is not derived from the
        phrase again (see `check_phrase`).

        Raises:
            IntegrityFailure: a check does not hold; only the log says which.
            KmsThrottled, KmsKeyUnusable, KmsUnavailable: KMS did not serve the call.
        """
        try:
            opened = await self._open(wallet)
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
        metrics.series(metrics.wallet_opens, "ok").inc()
        return opened

    async def _open(self, wallet: EncryptedWallet) -> Opened:
        # Invariant 4. Each step checks what the one before it returned:
        # 1. KMS is asked under the row's key, in the context of the row's address. `decrypt` checks that the
        #    reply names that key and holds 32 bytes.
        unwrapped = await self._kms.decrypt(wallet.dek, encryption_context(wallet.wallet_address))
        try:
            # 2. The tag holds under this DEK for this user and address, so no row can take another's place.
            contents = envelope.decrypt(
                wallet.encrypted_seed,
                unwrapped.dek,
                user_id=wallet.user_id,
                wallet_address=wallet.wallet_address,
            )
            # 3. The key inside gives the row's address, so no row shows one wallet and opens another.
            account = _match(account_in(contents), wallet.wallet_address)
            return Opened(account, contents, unwrapped.key_arn, unwrapped.request_id)
        except IntegrityFailure as error:
            error.kms_request_id = unwrapped.request_id
            raise


def check_phrase(opened: Opened) -> None:
    """Pass if the phrase of a wallet derives to the key stored beside it, or if there is no such pair.

    Raises:
        IntegrityFailure: it does not: the wallet can sign, but its phrase would restore another wallet.
    """
    contents = opened.contents
    if isinstance(contents, PhraseSecret) or contents.mnemonic is None:
        return  # the key was derived from the phrase when opened, or there is no phrase
    if ethereum.derive_imported(contents.mnemonic).address != opened.account.address:
        raise IntegrityFailure("phrase", opened.kms_request_id)


def account_in(contents: PhraseSecret | WalletSecret) -> Account:
    """The account in an opened envelope, derived only if it holds no key. The caller owns the key.

    Raises:
        IntegrityFailure: the contents give no account.
    """
    if isinstance(contents, PhraseSecret):
        return ethereum.derive(contents.mnemonic)
    return ethereum.account_of(contents.private_key)


def _match(account: Account, wallet_address: str) -> Account:
    if account.address != wallet_address:
        raise IntegrityFailure("address")
    return account
