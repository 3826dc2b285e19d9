"""`/seal` and `/unseal`: the switch that stops every release and signature."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import AnswerModel, RequestModel, Timestamp
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.service.switches.seal import REASON_CHARACTERS
from kms_service.store.switches.seal import SealChange

router = APIRouter(tags=["seal"], route_class=AuthenticatedRoute)


class SealReason(RequestModel):
    """Why the service is sealed; kept in the audit log."""

    reason: Annotated[
        str,
        StringConstraints(
            min_length=1, max_length=REASON_CHARACTERS, strict=True, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"
        ),
    ]


class SealView(AnswerModel):
    """Whether releases and signatures are stopped, since when, by whom and why."""

    sealed: bool
    reason: str | None = Field(description="null while not sealed")
    actor: str | None = Field(description="who last sealed or unsealed; null if nobody ever did")
    changed_at: Timestamp | None


@router.get("/seal", openapi_extra=needs(Scope.POOL_READ))
async def get_seal(request: Request) -> SealView:
    """Show whether the service is sealed, according to the database."""
    return seal_view(await in_time(request, services(request).seal.state))


@router.post("/seal", openapi_extra=needs(Scope.POOL_ADMIN))
async def close_seal(request: Request, body: SealReason) -> SealView:
    """Stop every release and signature on all replicas within two seconds; wallets are still created."""
    return seal_view(await in_time(request, services(request).seal.seal, caller_of(request), body.reason))


@router.post("/unseal", openapi_extra=needs(Scope.POOL_ADMIN))
async def open_seal(request: Request) -> SealView:
    """Let releases and signatures resume."""
    return seal_view(await in_time(request, services(request).seal.unseal, caller_of(request)))


def seal_view(change: SealChange | None) -> SealView:
    """A change of the seal, as the routes answer it."""
    if change is None:
        return SealView(sealed=False, reason=None, actor=None, changed_at=None)
    return SealView(sealed=change.sealed, reason=change.reason, actor=change.actor, changed_at=change.at)
