"""What can be signed, as uses of a key: each with what a policy judges and what the audit row records."""

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
    """A signature of 65 bytes (r, s, v), the 32-byte digest it is over, and the address that signed it."""

    wallet_address: str
    signature: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to be sent, its 32-byte hash, and the address that signed it."""

    wallet_address: str
    raw: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class SignedDelegation:
    """A signed authorisation, the 32-byte digest that was signed, and the address that signed it."""

    wallet_address: str
    signed: SignedAuthorization
    digest: bytes


def of_message(message: bytes) -> Use[SignedMessage]:
    """Sign a message (EIP-191, version 0x45)."""
    return _of("sign.message", signing.personal_message(message), MessageSigning(message))


def of_typed_data(typed: TypedData) -> Use[SignedMessage]:
    """Sign typed data (EIP-712)."""
    return _of("sign.typed_data", signing.typed_message(typed), TypedDataSigning(typed))


def of_transaction(transaction: Transaction, sender: str | None) -> Use[SignedTransaction]:
    """Sign a transaction (EIP-155, EIP-2930, EIP-1559, EIP-7702).

    Args:
        transaction: what is signed.
        sender: the `from` that the caller expects, if any; the use refuses any other wallet.
    """

    def from_the_sender(wallet_address: str) -> None:
        if sender is not None and sender != wallet_address:
            raise InvalidRequest("is not the address of this wallet", "transaction.from")

    def perform(account: Account) -> tuple[SignedTransaction, str]:
        signed = signing.sign_transaction(transaction, account.private_key)
        # The transaction's hash, so that an auditor can look it up on the blockchain.
        return SignedTransaction(account.address, signed.raw, signed.hash), "0x" + signed.hash.hex()

    return Use("sign.transaction", KIND, perform, TransactionSigning(transaction), from_the_sender)


def of_authorization(authorization: Authorization) -> Use[SignedDelegation]:
    """Sign an account's consent to run a contract's code as its own (EIP-7702)."""

    def perform(account: Account) -> tuple[SignedDelegation, str]:
        signed, digest = signing.sign_authorization(authorization, account.private_key)
        # The delegate as well as the digest: an auditor first asks who was given the account.
        detail = f"0x{digest.hex()} to {authorization.delegate} on {authorization.chain_id}"
        return SignedDelegation(account.address, signed, digest), detail

    operation = AuthorizationSigning(authorization.chain_id, authorization.delegate)
    return Use("sign.authorization", KIND, perform, operation)


def _of(action: str, signable: Signable, operation: Operation) -> Use[SignedMessage]:
    def perform(account: Account) -> tuple[SignedMessage, str]:
        signature = signing.sign(signable, account.private_key)
        return SignedMessage(account.address, signature, signable.digest), "0x" + signable.digest.hex()

    return Use(action, KIND, perform, operation)
