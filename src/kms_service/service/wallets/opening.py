"""Opening a stored wallet: the one road from a row to a private key, with its four checks (invariant 4)."""

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
    """KMS's EncryptionContext of a wallet's DEK; names no key, so that kms:ReEncrypt can move it."""
    return {"purpose": "wallet-dek", "wallet_address": wallet_address}


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened wallet, a secret of the caller's frame, and what opened it.

    Attributes:
        account: of the private key.
        contents: of the envelope.
        kms_key_id: the ARN of the key, in the Region that answered.
        kms_request_id: the KMS request.
    """

    account: Account
    contents: PhraseSecret | WalletSecret
    kms_key_id: str
    kms_request_id: str | None


class WalletOpener:
    """Opens wallets; caches nothing: one opening is one kms:Decrypt."""

    def __init__(self, kms: AwsKmsService) -> None:
        self._kms = kms

    async def open(self, wallet: EncryptedWallet) -> Opened:
        """The account encrypted in a row, if everything about the row holds together.

        Checked: KMS answered for the row's key, with 32 bytes; the tag holds for this user and address; the
        key's address is the row's. A key that lies in the envelope is not derived from its phrase again.

        Raises:
            IntegrityFailure: one of these does not hold; which one is only logged.
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
        # Invariant 4, in the order in which each answer can be distrusted:
        # 1. KMS is asked under the row's own key, in the context of the row's address, and its reply is
        #    checked there: it names that key and holds 32 bytes.
        unwrapped = await self._kms.decrypt(wallet.dek, encryption_context(wallet.wallet_address))
        try:
            # 2. The tag holds under this DEK for this user and address, so no row can stand in for another.
            contents = envelope.decrypt(
                wallet.encrypted_seed,
                unwrapped.dek,
                user_id=wallet.user_id,
                wallet_address=wallet.wallet_address,
            )
            # 3. The key inside makes the row's address: no row promises one wallet and opens another.
            account = _match(account_in(contents), wallet.wallet_address)
            return Opened(account, contents, unwrapped.key_arn, unwrapped.request_id)
        except IntegrityFailure as error:
            error.kms_request_id = unwrapped.request_id
            raise


def check_phrase(opened: Opened) -> None:
    """Pass when a wallet's phrase, where it has one, derives to the key that lies beside it.

    Raises:
        IntegrityFailure: it does not: the wallet pays out, and its phrase would restore another.
    """
    contents = opened.contents
    if isinstance(contents, PhraseSecret) or contents.mnemonic is None:
        return  # the key came from the phrase, or there is none
    if ethereum.derive_imported(contents.mnemonic).address != opened.account.address:
        raise IntegrityFailure("phrase", opened.kms_request_id)


def account_in(contents: PhraseSecret | WalletSecret) -> Account:
    """The account of an opened envelope, derived only where the key is not in it. The caller owns the key.

    Raises:
        IntegrityFailure: no account comes of it.
    """
    if isinstance(contents, PhraseSecret):
        return ethereum.derive(contents.mnemonic)
    return ethereum.account_of(contents.private_key)


def _match(account: Account, wallet_address: str) -> Account:
    if account.address != wallet_address:
        raise IntegrityFailure("address")
    return account
