"""`/audit/events`: the audit log, newest first."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import AnswerModel, KmsKeyIdInQuery, Moment, Timestamp, UserId
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.store.audit.trail import EventFilter, StoredRow

PAGE_EVENTS = 500

router = APIRouter(prefix="/audit", tags=["audit"], route_class=AuthenticatedRoute)

_NAME = r"^[A-Za-z0-9._:-]+$"


class AuditEvent(AnswerModel):
    """One event of the audit log."""

    id: int = Field(description="grows in the order of insertion")
    at: Timestamp = Field(description="by the database's clock")
    actor: str = Field(description="the token's name, or cli:<account>@<database login>")
    action: str
    outcome: str = Field(description="ok, or the error code of the answer")
    user_id: str | None
    wallet_address: str | None
    request_id: str | None
    kms_key_id: str | None
    kms_request_id: str | None = Field(description="the request id in CloudTrail")
    detail: str | None = Field(description="such as the digest of what was signed")


class AuditPage(AnswerModel):
    """One page of events, newest first; `nextCursor` is null on the last."""

    events: list[AuditEvent]
    next_cursor: str | None


@router.get("/events", openapi_extra=needs(Scope.AUDIT_READ))
async def list_events(
    request: Request,
    *,
    limit: Annotated[int, Query(ge=1, le=PAGE_EVENTS)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^[1-9][0-9]{0,17}$")] = None,
    user_id: Annotated[UserId | None, Query(alias="userId")] = None,
    actor: Annotated[str | None, Query(max_length=64, pattern=_NAME)] = None,
    action: Annotated[str | None, Query(max_length=64, pattern=_NAME)] = None,
    outcome: Annotated[
        str | None, Query(max_length=64, pattern=_NAME, description="ok, or an error code")
    ] = None,
    kms_key_id: KmsKeyIdInQuery = None,
    since: Annotated[Moment | None, Query(description="RFC 3339, inclusive")] = None,
    until: Annotated[Moment | None, Query(description="RFC 3339, exclusive")] = None,
) -> AuditPage:
    """List audit events, newest first, optionally filtered."""
    # A caller who may only read the log must not learn which wallets are canaries.
    hidden = Scope.POOL_ADMIN not in caller_of(request).scopes
    wanted = EventFilter(user_id, actor, action, since, until, outcome, kms_key_id, without_canaries=hidden)
    before = None if cursor is None else int(cursor)
    page = await in_time(request, services(request).audit_trail.page, wanted, before=before, limit=limit)
    next_cursor = None if page.next_before is None else str(page.next_before)
    return AuditPage(events=[event_view(stored) for stored in page.events], next_cursor=next_cursor)


def event_view(stored: StoredRow) -> AuditEvent:
    """An audit row, as the route answers it."""
    return AuditEvent.model_validate({"id": stored.id, **stored.row.columns()})
