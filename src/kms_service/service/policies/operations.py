"""What a policy judges: the operations that can be done with a wallet's key."""

from dataclasses import dataclass
from typing import Literal

from kms_service.ethereum.transactions import Transaction
from kms_service.ethereum.typed_data import TypedData


@dataclass(frozen=True, slots=True)
class MessageSigning:
    """Signing a message (EIP-191)."""

    message: bytes
    action: Literal["sign.message"] = "sign.message"


@dataclass(frozen=True, slots=True)
class TypedDataSigning:
    """Signing typed data (EIP-712)."""

    typed: TypedData
    action: Literal["sign.typed-data"] = "sign.typed-data"


@dataclass(frozen=True, slots=True)
class TransactionSigning:
    """Signing a transaction of any type."""

    transaction: Transaction
    action: Literal["sign.transaction"] = "sign.transaction"


@dataclass(frozen=True, slots=True)
class AuthorizationSigning:
    """Signing an EIP-7702 authorisation for `delegate`'s code to run; on all chains if `chain_id` is 0."""

    chain_id: int
    delegate: str
    action: Literal["sign.authorization"] = "sign.authorization"


@dataclass(frozen=True, slots=True)
class KeyRelease:
    """Releasing the private key itself, bare or encrypted to a recipient."""

    action: Literal["private_key.read", "private_key.export"]


Operation = MessageSigning | TypedDataSigning | TransactionSigning | AuthorizationSigning | KeyRelease
