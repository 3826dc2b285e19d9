"""`/wallets/{userId}/sign/…` and the encrypted export: what to ask for instead of a bare private key."""

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Self, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import AnswerModel, RequestModel, UserIdInPath
from kms_service.api.security import AuthenticatedRoute, needs, require
from kms_service.api.wallets import answers
from kms_service.api.wallets.answers import (
    ForeseenView,
    SignatureView,
    SignedAuthorizationView,
    SignedTransactionView,
)
from kms_service.api.wallets.transaction import AuthorizationBody, Octets, TransactionBody
from kms_service.errors import InvalidRequest
from kms_service.ethereum import json_values, transactions, typed_data
from kms_service.service.wallets import signatures
from kms_service.service.wallets.release import Use

T = TypeVar("T")
V = TypeVar("V")

router = APIRouter(prefix="/wallets/{userId}", tags=["signing"], route_class=AuthenticatedRoute)


def strict_base64(value: Any) -> bytes:
    """Decode base64 in the standard alphabet with padding, and nothing else.

    Raises:
        ValueError: the value is not that, or is empty.
    """
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        decoded = b""
    # Compared with its own encoding, since Python ignores trailing bits that do not make a whole byte.
    if not decoded or base64.b64encode(decoded).decode() != value:
        raise ValueError("must be base64 in the standard alphabet, with padding")
    return decoded


Base64 = Annotated[
    bytes,
    BeforeValidator(strict_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "maxLength": 64}),
]
Text = Annotated[str, BeforeValidator(json_values.text)]
DryRun = Annotated[
    bool, Query(alias="dryRun", description="Sign nothing; say whether the policy allows it, by which rule.")
]


class Message(RequestModel):
    """The message to sign: either text, which is signed as its UTF-8 bytes, or bytes in hex."""

    message: Text | None = None
    message_hex: Octets | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.message is None) == (self.message_hex is None):
            raise ValueError("needs message or messageHex, and not both")
        return self

    def octets(self) -> bytes:
        """The bytes that are signed."""
        return self.message.encode() if self.message is not None else self.message_hex or b""


class TypedMember(RequestModel):
    """A member of a struct."""

    name: str
    type: str


class TypedDataBody(RequestModel):
    """EIP-712 typed data, as eth_signTypedData_v4 takes it."""

    domain: dict[str, Any]
    types: dict[str, list[TypedMember]]
    primary_type: str | None = None
    message: dict[str, Any]

    def read(self) -> typed_data.TypedData:
        """The typed data, checked against its own types.

        Raises:
            InvalidRequest: it does not match them.
        """
        types = {
            name: [(member.name, member.type) for member in members] for name, members in self.types.items()
        }
        return typed_data.read(self.domain, types, self.primary_type, self.message)


class TransactionRequest(RequestModel):
    """The transaction to sign."""

    transaction: TransactionBody


class Recipient(RequestModel):
    """The public key that the private key is encrypted to."""

    recipient_public_key: Base64 = Field(description="32 bytes of an X25519 public key, base64")


class SealedExportView(AnswerModel):
    """A private key encrypted with HPKE, in base64."""

    wallet_address: str = Field(description="EIP-55; the associated data of the encryption")
    encapsulated_key: str
    ciphertext: str


@router.post("/sign/message", openapi_extra=needs(Scope.WALLETS_SIGN))
async def sign_message(
    request: Request, user_id: UserIdInPath, body: Message, *, dry_run: DryRun = False
) -> SignatureView | ForeseenView:
    """Sign a message as wallets do (EIP-191, personal_sign)."""
    return await _sign(
        request, user_id, lambda: signatures.of_message(body.octets()), answers.signature, dry_run=dry_run
    )


@router.post("/sign/typed-data", openapi_extra=needs(Scope.WALLETS_SIGN))
async def sign_typed_data(
    request: Request, user_id: UserIdInPath, body: TypedDataBody, *, dry_run: DryRun = False
) -> SignatureView | ForeseenView:
    """Sign typed data (EIP-712); data that does not match its types exactly is refused."""
    return await _sign(
        request, user_id, lambda: signatures.of_typed_data(body.read()), answers.signature, dry_run=dry_run
    )


@router.post("/sign/transaction", openapi_extra=needs(Scope.WALLETS_SIGN))
async def sign_transaction(
    request: Request, user_id: UserIdInPath, body: TransactionRequest, *, dry_run: DryRun = False
) -> SignedTransactionView | ForeseenView:
    """Sign a legacy (EIP-155), EIP-2930, EIP-1559 or EIP-7702 transaction. Nothing is sent to any chain.

    An EIP-7702 transaction also needs the scope `wallets:delegate`.
    """
    given = body.transaction
    if given.sets_code:
        await require(request, Scope.WALLETS_DELEGATE)
    return await _sign(
        request,
        user_id,
        lambda: signatures.of_transaction(transactions.read(given.fields()), given.sender),
        answers.transaction,
        dry_run=dry_run,
    )


@router.post("/sign/authorization", openapi_extra=needs(Scope.WALLETS_DELEGATE))
async def sign_authorization(
    request: Request, user_id: UserIdInPath, body: AuthorizationBody, *, dry_run: DryRun = False
) -> SignedAuthorizationView | ForeseenView:
    """Sign an account's consent to run a contract's code as its own (EIP-7702): that code may do anything."""
    return await _sign(
        request,
        user_id,
        lambda: signatures.of_authorization(body.authorization()),
        answers.authorization,
        dry_run=dry_run,
    )


@router.post("/private-key/export", openapi_extra=needs(Scope.PRIVATE_KEYS_EXPORT))
async def export_private_key(request: Request, user_id: UserIdInPath, body: Recipient) -> SealedExportView:
    """Export the private key encrypted to the caller's own key: nothing in between can read it.

    HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. `info` is
    `kms-service/private-key-export/v1`, the associated data is the wallet's address, and the plaintext is the
    32 bytes of the private key.
    """
    with _fields_of_the_body():
        export = services(request).wallets.export_private_key
        exported = await in_time(request, export, caller_of(request), user_id, body.recipient_public_key)
    return SealedExportView(
        wallet_address=exported.wallet_address,
        encapsulated_key=base64.b64encode(exported.encrypted.encapsulated_key).decode(),
        ciphertext=base64.b64encode(exported.encrypted.ciphertext).decode(),
    )


async def _sign(
    request: Request,
    user_id: str,
    encode: Callable[[], Use[T]],
    show: Callable[[T], V],
    *,
    dry_run: bool,
) -> V | ForeseenView:
    signing = services(request).signing
    with _fields_of_the_body():
        if dry_run:
            return answers.foreseen(
                await in_time(request, signing.foresee, caller_of(request), user_id, encode)
            )
        return show(await in_time(request, signing.sign, caller_of(request), user_id, encode))


@contextmanager
def _fields_of_the_body() -> Iterator[None]:
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(str(error), f"body.{error.field}") from error
