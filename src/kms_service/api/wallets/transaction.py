"""A transaction in JSON, as JSON-RPC and ethers write it."""

from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from kms_service.api.models import RequestModel
from kms_service.ethereum import authorizations, json_values, transactions
from kms_service.ethereum.authorizations import Authorization, SignedAuthorization
from kms_service.ethereum.json_values import MAX_SAFE_INTEGER, MAX_UINT256
from kms_service.ethereum.transactions import AccessListEntry, TransactionFields

_QUANTITY = WithJsonSchema(
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MAX_SAFE_INTEGER},
            {"type": "string", "pattern": "^(0|[1-9][0-9]{0,77}|0x[0-9a-fA-F]{1,64})$"},
        ]
    }
)
_STORAGE_KEY_BYTES = 32
# Each costs 25,000 gas on the chain and a hash here; nobody needs more than this in one transaction.
_MOST_AUTHORIZATIONS = 100


def _up_to(maximum: int) -> BeforeValidator:
    return BeforeValidator(partial(json_values.unsigned_integer, maximum=maximum))


def _chain_id(value: Any) -> int:
    chain_id = json_values.unsigned_integer(value, transactions.MAX_CHAIN_ID)
    if chain_id == 0:
        raise ValueError("must be at least 1, or the transaction could be replayed on any chain")
    return chain_id


def _storage_key(value: Any) -> bytes:
    key = json_values.octets(value)
    if len(key) != _STORAGE_KEY_BYTES:
        raise ValueError("must have 32 bytes")
    return key


Wei = Annotated[int, _up_to(MAX_UINT256), _QUANTITY]
Gas = Annotated[int, _up_to(transactions.MAX_GAS), _QUANTITY]
Nonce = Annotated[int, _up_to(transactions.MAX_NONCE), _QUANTITY]
Type = Annotated[int, _up_to(255), _QUANTITY]
Octets = Annotated[
    bytes,
    BeforeValidator(json_values.octets),
    WithJsonSchema({"type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$"}),
]
Address = Annotated[
    str,
    BeforeValidator(json_values.address),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}),
]
StorageKey = Annotated[
    bytes,
    BeforeValidator(_storage_key),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"}),
]
ChainId = Annotated[int, BeforeValidator(_chain_id), _QUANTITY]


class AccessListItem(RequestModel):
    """An address, and those of its storage keys that the transaction will touch."""

    address: Address
    storage_keys: list[StorageKey]


class AuthorizationBody(RequestModel):
    """What an account consents to (EIP-7702): a chain (0 for every one), a contract's code, and a nonce."""

    chain_id: Annotated[int, _up_to(authorizations.MAX_CHAIN_ID), _QUANTITY]
    address: Address = Field(description="the delegate, whose code the account will run as its own")
    nonce: Annotated[int, _up_to(authorizations.MAX_NONCE), _QUANTITY]

    def authorization(self) -> Authorization:
        """The same as a value of `ethereum`."""
        return Authorization(self.chain_id, self.address, self.nonce)


class SignedAuthorizationBody(AuthorizationBody):
    """A signed authorisation, as `/sign/authorization` answers it."""

    y_parity: Annotated[int, _up_to(1), _QUANTITY]
    r: Wei
    s: Wei

    def signed_authorization(self) -> SignedAuthorization:
        """The same as a value of `ethereum`."""
        return SignedAuthorization(self.authorization(), self.y_parity, self.r, self.s)


class TransactionBody(RequestModel):
    """A legacy, EIP-2930, EIP-1559 or EIP-7702 transaction. `null` means the same as absent."""

    chain_id: ChainId
    nonce: Nonce
    type: Type | None = Field(None, description="0, 1, 2 or 4; inferred from the other fields when absent")
    sender: Address | None = Field(None, alias="from", description="Must be the wallet's address")
    to: Address | None = None
    value: Wei = 0
    data: Octets | None = None
    gas: Gas | None = None
    gas_limit: Gas | None = Field(None, description="ethers' name of gas")
    gas_price: Wei | None = None
    max_fee_per_gas: Wei | None = None
    max_priority_fee_per_gas: Wei | None = None
    access_list: list[AccessListItem] | None = None
    authorization_list: Annotated[
        list[SignedAuthorizationBody] | None, Field(max_length=_MOST_AUTHORIZATIONS)
    ] = None

    @property
    def sets_code(self) -> bool:
        """Whether this is a type 4 transaction, which also needs the scope `wallets:delegate`."""
        return self.type == transactions.SET_CODE or self.authorization_list is not None

    def fields(self) -> TransactionFields:
        """The fields, by the names that `ethereum.transactions` reads."""
        entries = None
        if self.access_list is not None:
            entries = [AccessListEntry(item.address, item.storage_keys) for item in self.access_list]
        consents = None
        if self.authorization_list is not None:
            consents = [each.signed_authorization() for each in self.authorization_list]
        return TransactionFields(
            chain_id=self.chain_id,
            nonce=self.nonce,
            value=self.value,
            data=self.data or b"",
            type=self.type,
            gas=self.gas,
            gas_limit=self.gas_limit,
            gas_price=self.gas_price,
            max_fee_per_gas=self.max_fee_per_gas,
            max_priority_fee_per_gas=self.max_priority_fee_per_gas,
            to=self.to,
            access_list=entries,
            authorizations=consents,
        )
