"""The rules of a policy, one model for each action: every criterion that the action has must be given."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kms_service.ethereum.abi import ARGUMENTS
from kms_service.service.policies.language import constraints, members
from kms_service.service.policies.language.calls import Call, ConstraintField, Criteria, FunctionCall, Where
from kms_service.service.policies.language.constraints import ANY
from kms_service.service.policies.language.lists import (
    Addresses,
    ChainIds,
    MaxBytes,
    MessagePrefixes,
    Recipients,
    Texts,
    WalletsField,
)
from kms_service.service.policies.language.windows import CALL, COUNT, Window

MAX_WINDOWS = 8
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Rule(Criteria):
    id: Name
    wallets: WalletsField
    windows: Annotated[tuple[Window, ...], Field(max_length=MAX_WINDOWS)] = ()

    @model_validator(mode="after")
    def _windows_differ(self) -> Self:
        if len({window.name for window in self.windows}) != len(self.windows):
            raise ValueError("has two windows of the same measure, period and owner")
        return self


class _CountingRule(_Rule):
    @model_validator(mode="after")
    def _windows_count(self) -> Self:
        if any(window.measure != COUNT for window in self.windows):
            raise ValueError("has a window that adds up what only a transaction has; here it can count")
        return self


class MessageRule(_CountingRule):
    """Messages that begin with one of the prefixes (UTF-8) and have at most `max_bytes` bytes."""

    action: Literal["sign.message"]
    prefixes: MessagePrefixes
    max_bytes: MaxBytes


class Domain(Criteria):
    """EIP-712's domain. A member with a list must be there; `version` is optional, `salt` not checked."""

    name: Texts
    version: Texts = ANY
    chain_id: ChainIds
    verifying_contract: Addresses


class TypedDataRule(_CountingRule):
    """Typed data of certain primary types and domains whose members meet the constraints."""

    action: Literal["sign.typed-data"]
    domain: Domain
    primary_types: Texts
    where: Where

    @model_validator(mode="after")
    def _where_says_something(self) -> Self:
        if not self.where:
            raise ValueError('where names no member; to restrict nothing it says "any"')
        return self


class TransactionRule(_Rule):
    """Transactions on certain chains to certain recipients, with bounds on value, fee and the call."""

    action: Literal["sign.transaction"]
    chain_ids: ChainIds
    to: Recipients
    value: ConstraintField
    fee: ConstraintField
    call: Call

    @model_validator(mode="after")
    def _measures_are_integers(self) -> Self:
        for name in ("value", "fee"):
            constraints.check_type(getattr(self, name), "uint256")
        for window in self.windows:
            if window.measure.startswith(CALL) and not self._all_have(window.measure.removeprefix(CALL)):
                raise ValueError(f"has no unsigned {window.measure} in every call that it allows")
        return self

    def _all_have(self, argument: str) -> bool:
        if isinstance(self.call, str):
            return False
        return all(isinstance(call, FunctionCall) and _is_unsigned(call, argument) for call in self.call)


class AuthorizationRule(_CountingRule):
    """EIP-7702 authorisations of certain delegates on certain chains; chain 0 means all chains at once."""

    action: Literal["sign.authorization"]
    chain_ids: ChainIds
    delegates: Addresses


class KeyRule(_CountingRule):
    """Releases of private keys, bare or encrypted to a recipient."""

    action: Literal["private_key.read", "private_key.export"]


Rule = Annotated[
    MessageRule | TypedDataRule | TransactionRule | AuthorizationRule | KeyRule,
    Field(discriminator="action"),
]


def _is_unsigned(call: FunctionCall, argument: str) -> bool:
    types = dict(members.leaves(call.function.structs, ARGUMENTS))
    return types.get(argument, "").startswith("uint")
