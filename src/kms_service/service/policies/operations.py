"""What a policy judges: the operations that can be done with a wallet's key."""

from dataclasses import dataclass
from typing import Literal

from kms_service.ethereum.transactions import Transaction
from kms_service.ethereum.typed_data import TypedData


@dataclass(frozen=True, slots=True)
class MessageSigning:
    """A message under EIP-191."""

    message: bytes
    action: Literal["sign.message"] = "sign.message"


@dataclass(frozen=True, slots=True)
class TypedDataSigning:
    """Typed data under EIP-712."""

    typed: TypedData
    action: Literal["sign.typed-data"] = "sign.typed-data"


@dataclass(frozen=True, slots=True)
class TransactionSigning:
    """A transaction of any type."""

    transaction: Transaction
    action: Literal["sign.transaction"] = "sign.transaction"


@dataclass(frozen=True, slots=True)
class AuthorizationSigning:
    """An EIP-7702 authorisation: the wallet runs `delegate`'s code; on all chains if `chain_id` is 0."""

    chain_id: int
    delegate: str
    action: Literal["sign.authorization"] = "sign.authorization"


@dataclass(frozen=True, slots=True)
class KeyRelease:
    """The private key itself, bare or encrypted to a recipient."""

    action: Literal["private_key.read", "private_key.export"]


Operation = MessageSigning | TypedDataSigning | TransactionSigning | AuthorizationSigning | KeyRelease
