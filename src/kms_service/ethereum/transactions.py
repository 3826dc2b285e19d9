"""Transactions that can be signed: legacy with EIP-155, EIP-2930, EIP-1559 and EIP-7702.

Only what is unambiguous is filled in (no value, no data, an empty access list). If a forgotten nonce or fee
counted as zero, that would be a transaction nobody meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kms_service.errors import InvalidRequest
from kms_service.ethereum.authorizations import SignedAuthorization

LEGACY, ACCESS_LIST, DYNAMIC_FEE, SET_CODE = 0, 1, 2, 4
MAX_CHAIN_ID = 2**63 - 37  # https://eips.ethereum.org/EIPS/eip-2294
MAX_NONCE = 2**64 - 2  # https://eips.ethereum.org/EIPS/eip-2681
MAX_GAS = 2**64 - 1


@dataclass(frozen=True, slots=True)
class AccessListEntry:
    """An address (EIP-55) and its storage keys, 32 bytes each, that a transaction will touch (EIP-2930)."""

    address: str
    storage_keys: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class TransactionFields:
    """A transaction as a caller gave it, each field in range; amounts in wei. None means not given."""

    chain_id: int
    nonce: int
    value: int
    data: bytes
    type: int | None
    gas: int | None
    gas_limit: int | None
    gas_price: int | None
    max_fee_per_gas: int | None
    max_priority_fee_per_gas: int | None
    to: str | None
    access_list: Sequence[AccessListEntry] | None
    authorizations: Sequence[SignedAuthorization] | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction ready to be signed, by JSON-RPC's field names; only `read` makes one. In wei."""

    fields: dict[str, Any]

    @property
    def chain_id(self) -> int:
        """The only chain on which it is valid."""
        return int(self.fields["chainId"])

    @property
    def recipient(self) -> str | None:
        """The recipient, in EIP-55's form; None if it creates a contract."""
        return self.fields["to"] or None

    @property
    def value(self) -> int:
        """The value that it transfers, in wei."""
        return int(self.fields["value"])

    @property
    def highest_fee(self) -> int:
        """The most that its gas can cost, in wei; some chains charge for publishing data on top."""
        price = self.fields["maxFeePerGas" if "maxFeePerGas" in self.fields else "gasPrice"]
        return int(self.fields["gas"]) * int(price)

    @property
    def data(self) -> bytes:
        """The call, or the code that creates a contract."""
        return bytes(self.fields["data"])

    @property
    def delegations(self) -> Sequence[tuple[int, str]]:
        """The chain ids and delegates of the authorisations that it carries (EIP-7702)."""
        return [(entry["chainId"], entry["address"]) for entry in self.fields.get("authorizationList", ())]


def read(given: TransactionFields) -> Transaction:
    """The transaction that these fields mean.

    Raises:
        InvalidRequest: a field is missing, or contradicts another; names it.
    """
    kind = _kind(given)
    fields: dict[str, Any] = {
        "chainId": given.chain_id,
        "nonce": given.nonce,
        "gas": _gas(given),
        "to": _recipient(given),
        "value": given.value,
        "data": given.data,
    }
    if kind != LEGACY:
        # eth_account takes a transaction without a type as a legacy one.
        fields |= {"type": kind, "accessList": _access_list(given)}
    elif given.access_list is not None:
        raise InvalidRequest("a legacy transaction has none", "transaction.accessList")
    fees = _dynamic_fees(given) if kind in {DYNAMIC_FEE, SET_CODE} else _gas_price(given)
    return Transaction(fields | fees | _authorizations(given, kind))


def _kind(given: TransactionFields) -> int:
    if given.type is not None:
        if given.type not in {LEGACY, ACCESS_LIST, DYNAMIC_FEE, SET_CODE}:
            raise InvalidRequest(
                "must be 0, 1, 2 or 4: other transactions are not signed", "transaction.type"
            )
        return given.type
    if given.authorizations is not None:
        return SET_CODE
    if given.max_fee_per_gas is not None or given.max_priority_fee_per_gas is not None:
        return DYNAMIC_FEE
    return LEGACY if given.access_list is None else ACCESS_LIST


def _gas(given: TransactionFields) -> int:
    if given.gas is not None and given.gas_limit is not None:
        raise InvalidRequest("is the same as gas: give one of them", "transaction.gasLimit")
    gas = given.gas if given.gas is not None else given.gas_limit
    if gas is None:
        raise InvalidRequest("is missing", "transaction.gas")
    return gas


def _recipient(given: TransactionFields) -> str | bytes:
    if given.to is None and not given.data:
        raise InvalidRequest("is missing; only a contract creation, with data, has none", "transaction.to")
    return given.to if given.to is not None else b""


def _access_list(given: TransactionFields) -> list[dict[str, Any]]:
    return [
        {"address": entry.address, "storageKeys": ["0x" + key.hex() for key in entry.storage_keys]}
        for entry in given.access_list or ()
    ]


def _authorizations(given: TransactionFields, kind: int) -> dict[str, Any]:
    field = "transaction.authorizationList"
    if kind != SET_CODE:
        if given.authorizations is not None:
            raise InvalidRequest("belongs to transactions of type 4", field)
        return {}
    if given.to is None:
        raise InvalidRequest("is missing: a transaction of type 4 creates no contract", "transaction.to")
    if not given.authorizations:
        raise InvalidRequest("is missing or empty, which nodes reject", field)
    return {"authorizationList": [_authorization(signed) for signed in given.authorizations]}


def _authorization(signed: SignedAuthorization) -> dict[str, Any]:
    asked = signed.authorization
    return {
        "chainId": asked.chain_id,
        "address": asked.delegate,
        "nonce": asked.nonce,
        "yParity": signed.y_parity,
        "r": signed.r,
        "s": signed.s,
    }


def _gas_price(given: TransactionFields) -> dict[str, int]:
    if given.max_fee_per_gas is not None or given.max_priority_fee_per_gas is not None:
        raise InvalidRequest("belongs to transactions of type 2", "transaction.maxFeePerGas")
    if given.gas_price is None:
        raise InvalidRequest(
            "is missing: give it, or maxFeePerGas and maxPriorityFeePerGas", "transaction.gasPrice"
        )
    return {"gasPrice": given.gas_price}


def _dynamic_fees(given: TransactionFields) -> dict[str, int]:
    if given.gas_price is not None:
        raise InvalidRequest("cannot be combined with type 2 or its fees", "transaction.gasPrice")
    highest, tip = given.max_fee_per_gas, given.max_priority_fee_per_gas
    if highest is None:
        raise InvalidRequest("is missing", "transaction.maxFeePerGas")
    if tip is None:
        raise InvalidRequest("is missing", "transaction.maxPriorityFeePerGas")
    if tip > highest:
        raise InvalidRequest("is more than maxFeePerGas", "transaction.maxPriorityFeePerGas")
    return {"maxFeePerGas": highest, "maxPriorityFeePerGas": tip}
