"""`/wallets`: create, look up, list, batch, and the private key."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, TypeAdapter, ValidationError

from kms_service import context
from kms_service.access.scopes import Scope
from kms_service.api import problems
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import (
    AnswerModel,
    KmsKeyIdInQuery,
    RequestModel,
    Timestamp,
    UserId,
    UserIdInPath,
)
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.errors import IntegrityFailure, InvalidRequest, KmsServiceError, WalletNotFound
from kms_service.service.wallets.wallets import Ensured
from kms_service.store.wallets.find import WalletRow
from kms_service.telemetry import metrics

BATCH_USERS = 100
PAGE_WALLETS = 500

router = APIRouter(
    prefix="/wallets",
    tags=["wallets"],
    route_class=AuthenticatedRoute,
)

_private_key: dict[str, Any] = {"openapi_extra": needs(Scope.PRIVATE_KEYS_READ)}


class NewWallet(RequestModel):
    """The user to create a wallet for."""

    user_id: UserId


class WalletView(AnswerModel):
    """A wallet without its secrets."""

    user_id: str
    wallet_address: str = Field(description="EIP-55")
    compressed_public_key: str = Field(description="0x and 33 bytes in hex")
    kms_key_id: str = Field(description="ARN of the key that wraps the wallet's DEK")
    kms_region: str
    created_at: Timestamp


class RefusedWallet(AnswerModel):
    """A row that this service did not write as it is: only the user id it claims, and what is wrong."""

    user_id: str
    problem: dict[str, Any]


class WalletPage(AnswerModel):
    """One page of wallets; `nextCursor` is null on the last.

    `refused` lists rows whose MAC does not hold, without their addresses; it is absent if there are none.
    """

    wallets: list[WalletView]
    next_cursor: str | None
    refused: list[RefusedWallet] = Field(default_factory=list)


class NewWallets(RequestModel):
    """The users to create wallets for, at most 100. An invalid id is a problem of that item alone."""

    user_ids: Annotated[list[str], Field(min_length=1, max_length=BATCH_USERS)]


class BatchResult(AnswerModel):
    """The result for one user of a batch: a wallet, or the problem of a single request."""

    user_id: str
    status: int
    wallet: WalletView | None = None
    problem: dict[str, Any] | None = None


class BatchResults(AnswerModel):
    """One result per user, in the order of the request."""

    results: list[BatchResult]


class PrivateKeyView(AnswerModel):
    """A wallet's private key: whoever reads it owns the wallet."""

    user_id: str
    wallet_address: str
    private_key: str = Field(description="0x and 64 hex digits")


@router.post("", status_code=201, openapi_extra=needs(Scope.WALLETS_CREATE))
async def create_wallet(request: Request, body: NewWallet, response: Response) -> WalletView:
    """Create a wallet for a user who has none.

    Otherwise the answer is 409 with the member `walletAddress`.
    """
    wallet = await in_time(request, services(request).wallets.create_wallet, caller_of(request), body.user_id)
    response.headers["Location"] = f"/wallets/{wallet.user_id}"
    return wallet_view(wallet)


@router.post("/batch", openapi_extra=needs(Scope.WALLETS_CREATE), response_model_exclude_none=True)
async def create_wallets(request: Request, body: NewWallets) -> BatchResults:
    """Find or create the wallets of up to 100 users; a failure does not stop the others."""
    faults = {
        place: fault for place, user_id in enumerate(body.user_ids) if (fault := _fault(place, user_id))
    }
    good = [user_id for place, user_id in enumerate(body.user_ids) if place not in faults]
    made = iter(await in_time(request, services(request).wallets.ensure_wallets, caller_of(request), good))
    outcomes = [faults.get(place) or next(made) for place in range(len(body.user_ids))]
    pairs = zip(body.user_ids, outcomes, strict=True)
    return BatchResults(results=[_result(user_id, outcome) for user_id, outcome in pairs])


@router.get("", openapi_extra=needs(Scope.WALLETS_READ), response_model_exclude_unset=True)
async def list_wallets(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=PAGE_WALLETS)] = 100,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    kms_key_id: KmsKeyIdInQuery = None,
) -> WalletPage:
    """List wallets in order of user id, optionally only those under one key."""
    after = None if cursor is None else _decode_cursor(cursor)
    page = await in_time(
        request, services(request).wallets.list_wallets, limit=limit, after=after, kms_key_id=kms_key_id
    )
    found = WalletPage(
        wallets=[wallet_view(wallet) for wallet in page.wallets],
        next_cursor=None if page.next_after is None else _encode_cursor(page.next_after),
    )
    refused = [refused_wallet(user_id) for user_id in page.refused]
    return found.model_copy(update={"refused": refused}) if refused else found


@router.put(
    "/{userId}",
    status_code=200,
    openapi_extra=needs(Scope.WALLETS_CREATE),
    responses={201: {"model": WalletView, "description": "Created now."}},
)
async def put_wallet(request: Request, user_id: UserIdInPath, response: Response) -> WalletView:
    """Get the user's wallet, or create it if there is none; idempotent."""
    ensured = await in_time(request, services(request).wallets.ensure_wallet, caller_of(request), user_id)
    response.status_code = _status(ensured)
    return wallet_view(ensured.wallet)


@router.get("/{userId}", openapi_extra=needs(Scope.WALLETS_READ))
async def get_wallet(request: Request, user_id: UserIdInPath) -> WalletView:
    """Get a wallet without its secrets; makes no KMS call."""
    return wallet_view(await in_time(request, services(request).wallets.get_wallet, user_id))


# The second path is the ported service's: one handler, so that neither can do what the other cannot.
@router.get("/{userId}/private-key", **_private_key)
@router.get("/users/{userId}/private-key", name="get_private_key_of_user", **_private_key)
async def get_private_key(request: Request, user_id: UserIdInPath) -> PrivateKeyView:
    """Get the bare private key, once its release is on record. Prefer signing or the export."""
    return await _release(request, user_id)


@router.get("/platform/verifier-private-key", **_private_key)
async def get_verifier_private_key(request: Request) -> PrivateKeyView:
    """Get the private key of the wallet that `PLATFORM_VERIFIER_USER_ID` names; 404 without that setting."""
    user_id = services(request).settings.platform_verifier_user_id
    if user_id is None:
        raise WalletNotFound
    return await _release(request, user_id)


async def _release(request: Request, user_id: str) -> PrivateKeyView:
    released = await in_time(
        request, services(request).wallets.get_private_key_for_user, caller_of(request), user_id
    )
    return PrivateKeyView(
        user_id=released.user_id,
        wallet_address=released.wallet_address,
        private_key="0x" + released.private_key.reveal().hex(),
    )


def wallet_view(wallet: WalletRow) -> WalletView:
    """A wallet, as the routes answer it."""
    return WalletView(
        user_id=wallet.user_id,
        wallet_address=wallet.wallet_address,
        compressed_public_key=wallet.compressed_public_key,
        kms_key_id=wallet.kms_key_id,
        kms_region=wallet.kms_region,
        created_at=wallet.created_at,
    )


def refused_wallet(user_id: str) -> RefusedWallet:
    """A row whose MAC does not hold, as the route answers it."""
    problem = problems.problem(IntegrityFailure("row MAC"))
    return RefusedWallet(user_id=user_id, problem={**problem, "requestId": context.request_id.get()})


def _status(ensured: Ensured) -> int:
    return 201 if ensured.created else 200


def _result(user_id: str, outcome: Ensured | KmsServiceError) -> BatchResult:
    if isinstance(outcome, Ensured):
        return BatchResult(user_id=user_id, status=_status(outcome), wallet=wallet_view(outcome.wallet))
    metrics.http_problems.labels(outcome.code).inc()
    members = {**problems.problem(outcome), "requestId": context.request_id.get()}
    return BatchResult(user_id=user_id, status=members["status"], problem=members)


_user_id = TypeAdapter(UserId)


def _fault(place: int, user_id: str) -> InvalidRequest | None:
    try:
        _user_id.validate_python(user_id)
    except ValidationError:
        # Returned, not raised here: pydantic's error holds the value and must not become the cause.
        return InvalidRequest("is not 1 to 128 characters of A-Z a-z 0-9 . _ : @ -", f"userIds.{place}")
    return None


def _encode_cursor(user_id: str) -> str:
    return base64.urlsafe_b64encode(user_id.encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return _user_id.validate_python(base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii"))
    except (ValidationError, binascii.Error, ValueError):
        raise InvalidRequest("is not a cursor of this service", "query.cursor") from None
