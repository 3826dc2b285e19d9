"""`/policies`: what bounds tokens, and how much of it is used. Only the command changes policies."""

import base64
import binascii
import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.models import AnswerModel, Timestamp
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.errors import InvalidRequest
from kms_service.store.policies.versions import PolicyRow
from kms_service.store.policies.windows import WindowUse

PAGE_WINDOWS = 500
_CURSOR_PARTS = 4

router = APIRouter(prefix="/policies", tags=["policies"], route_class=AuthenticatedRoute)
PolicyName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class PolicySummary(AnswerModel):
    """A policy's newest version."""

    name: str
    version: int
    set_by: str = Field(description="the operator, as in the audit log")
    set_at: Timestamp


class PolicyList(AnswerModel):
    """All policies, by name."""

    policies: list[PolicySummary]


class PolicyView(PolicySummary):
    """A policy's newest version, with its document."""

    document: dict[str, Any]


class WindowView(AnswerModel):
    """A window, and how much of it is used now; amounts are decimal strings in the smallest unit."""

    rule: str
    measure: str = Field(description="count, value, fee, value+fee or call.<argument>")
    per: str
    of: str = Field(description="wallet or token")
    subject: str = Field(description="the wallet's userId or the token's name")
    chain_id: str | None = Field(description="of call.<argument>, counted by chain and contract; else null")
    contract: str | None = Field(description="as chainId")
    used: str
    max: str


class WindowPage(AnswerModel):
    """One page of windows; `nextCursor` is null on the last."""

    windows: list[WindowView]
    next_cursor: str | None


@router.get("", openapi_extra=needs(Scope.POOL_READ))
async def list_policies(request: Request) -> PolicyList:
    """List all policies by name."""
    rows = await in_time(request, services(request).policies.list_all)
    return PolicyList(policies=[PolicySummary(**_summary(row)) for row in rows])


@router.get("/{name}", openapi_extra=needs(Scope.POOL_READ))
async def get_policy(request: Request, name: PolicyName) -> PolicyView:
    """Get a policy's newest version, with its document."""
    row = await in_time(request, services(request).policies.show, name, None)
    return PolicyView(**_summary(row), document=json.loads(row.document))


@router.get("/{name}/usage", openapi_extra=needs(Scope.POOL_READ))
async def get_usage(
    request: Request,
    name: PolicyName,
    *,
    limit: Annotated[int, Query(ge=1, le=PAGE_WINDOWS)] = 100,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> WindowPage:
    """Show how much of a policy's windows is used now; unused windows are not listed."""
    after = None if cursor is None else _position(cursor)
    usage = services(request).policies.usage
    uses = await in_time(request, usage, name, limit=limit + 1, after=after)
    next_cursor = _cursor(uses[limit - 1]) if len(uses) > limit else None
    return WindowPage(windows=[_window(use) for use in uses[:limit]], next_cursor=next_cursor)


def _summary(row: PolicyRow) -> dict[str, Any]:
    return {"name": row.name, "version": row.version, "set_by": row.set_by, "set_at": row.set_at}


def _window(use: WindowUse) -> WindowView:
    return WindowView(
        rule=use.rule,
        measure=use.measure,
        per=use.per,
        of=use.of,
        subject=use.subject,
        chain_id=use.chain_id,
        contract=use.contract,
        used=str(use.used),
        max=str(use.maximum),
    )


def _cursor(use: WindowUse) -> str:
    return base64.urlsafe_b64encode(json.dumps(use.key).encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[str, str, str, str]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        parts = None
    if (
        not isinstance(parts, list)
        or len(parts) != _CURSOR_PARTS
        or not all(isinstance(part, str) and "\0" not in part for part in parts)
    ):
        raise InvalidRequest("is not a cursor of this service", "query.cursor")
    return parts[0], parts[1], parts[2], parts[3]
