"""`/wallet-imports` and `PUT /wallets/{userId}/import`: a wallet from elsewhere, encrypted in transit."""

import base64
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field, WithJsonSchema

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import (
    AnswerModel,
    RequestModel,
    Timestamp,
    UserIdInPath,
)
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.api.wallets.signing import strict_base64
from kms_service.api.wallets.wallets import WalletView, wallet_view
from kms_service.service.wallets.importing import EncryptedImport

router = APIRouter(tags=["wallets"], route_class=AuthenticatedRoute)

Octets = Annotated[
    bytes,
    BeforeValidator(strict_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "maxLength": 512}),
]
# Not strict, since JSON has UUIDs only as text. The bytes that this would also accept cannot be in JSON.
ImportId = Annotated[UUID, Field(strict=False)]


class ImportKeyView(AnswerModel):
    """An X25519 key that is valid for one attempt to import a wallet."""

    import_id: UUID
    recipient_public_key: str = Field(description="32 bytes of an X25519 public key, base64")
    expires_at: Timestamp


class ImportBody(RequestModel):
    """A private key (32 bytes) or a phrase (12 to 24 English words in UTF-8), encrypted with HPKE.

    The suite is that of the export, `info` is `kms-service/wallet-import/v1`, associated data is the user id.
    """

    import_id: ImportId
    encapsulated_key: Octets
    ciphertext: Octets


@router.post("/wallet-imports", status_code=201, openapi_extra=needs(Scope.WALLETS_IMPORT))
async def begin_import(request: Request) -> ImportKeyView:
    """Get a public key to encrypt one wallet to; it is valid for one attempt within 15 minutes."""
    key = await in_time(request, services(request).importer.begin, caller_of(request))
    return ImportKeyView(
        import_id=key.import_id,
        recipient_public_key=base64.b64encode(key.recipient_public_key).decode(),
        expires_at=key.expires_at,
    )


@router.put("/wallets/{userId}/import", status_code=201, openapi_extra=needs(Scope.WALLETS_IMPORT))
async def complete_import(request: Request, user_id: UserIdInPath, body: ImportBody) -> WalletView:
    """Import a wallet that was encrypted to the import's key.

    The attempt uses the key up, even if it fails, unless the user already has a wallet.
    """
    encrypted = EncryptedImport(body.import_id, body.encapsulated_key, body.ciphertext)
    return wallet_view(
        await in_time(request, services(request).importer.complete, caller_of(request), user_id, encrypted)
    )
