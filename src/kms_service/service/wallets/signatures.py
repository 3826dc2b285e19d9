"""What can be signed, as uses of a key: each with what a policy judges, and what the audit row tells."""

from dataclasses import dataclass

from kms_service.errors import InvalidRequest
from kms_service.ethereum import Account, signing
from kms_service.ethereum.authorizations import Authorization, SignedAuthorization
from kms_service.ethereum.signing import Signable
from kms_service.ethereum.transactions import Transaction
from kms_service.ethereum.typed_data import TypedData
from kms_service.service.policies.operations import (
    AuthorizationSigning,
    MessageSigning,
    Operation,
    TransactionSigning,
    TypedDataSigning,
)
from kms_service.service.wallets.release import Use

KIND = "signature"


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A signature of 65 bytes (r, s, v) over a digest of 32, and the address that made it."""

    wallet_address: str
    signature: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to be sent, its hash of 32 bytes, and the address that signed it."""

    wallet_address: str
    raw: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class SignedDelegation:
    """A signed authorisation, the digest of 32 bytes that it is over, and the address that signed it."""

    wallet_address: str
    signed: SignedAuthorization
    digest: bytes


def of_message(message: bytes) -> Use[SignedMessage]:
    """The signature of a message (EIP-191, version 0x45)."""
    return _of("sign.message", signing.personal_message(message), MessageSigning(message))


def of_typed_data(typed: TypedData) -> Use[SignedMessage]:
    """The signature of typed data (EIP-712)."""
    return _of("sign.typed_data", signing.typed_message(typed), TypedDataSigning(typed))


def of_transaction(transaction: Transaction, sender: str | None) -> Use[SignedTransaction]:
    """A transaction, signed (EIP-155, EIP-2930, EIP-1559, EIP-7702).

    Args:
        transaction: what is signed.
        sender: the `from` that the caller expects, if any; another wallet's use is an InvalidRequest.
    """

    def from_the_sender(wallet_address: str) -> None:
        if sender is not None and sender != wallet_address:
            raise InvalidRequest("is not the address of this wallet", "transaction.from")

    def perform(account: Account) -> tuple[SignedTransaction, str]:
        signed = signing.sign_transaction(transaction, account.private_key)
        # The hash by which the chain knows it, so that an auditor can look it up there.
        return SignedTransaction(account.address, signed.raw, signed.hash), "0x" + signed.hash.hex()

    return Use("sign.transaction", KIND, perform, TransactionSigning(transaction), from_the_sender)


def of_authorization(authorization: Authorization) -> Use[SignedDelegation]:
    """The account's consent to run another contract's code as its own (EIP-7702)."""

    def perform(account: Account) -> tuple[SignedDelegation, str]:
        signed, digest = signing.sign_authorization(authorization, account.private_key)
        # The delegate beside the digest: an auditor asks first to whom an account was handed.
        detail = f"0x{digest.hex()} to {authorization.delegate} on {authorization.chain_id}"
        return SignedDelegation(account.address, signed, digest), detail

    operation = AuthorizationSigning(authorization.chain_id, authorization.delegate)
    return Use("sign.authorization", KIND, perform, operation)


def _of(action: str, signable: Signable, operation: Operation) -> Use[SignedMessage]:
    def perform(account: Account) -> tuple[SignedMessage, str]:
        signature = signing.sign(signable, account.private_key)
        return SignedMessage(account.address, signature, signable.digest), "0x" + signable.digest.hex()

    return Use(action, KIND, perform, operation)
