"""`/kms/pool`: show and control the key pool."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import AnswerModel, RequestModel, Timestamp
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.kms.pool import DescribedKey, KeyMode, KeyStatus
from kms_service.kms.regions.routes import RegionRole
from kms_service.service.pool.materials import count_behind
from kms_service.service.pool.state import PoolKey, PoolState

_ROUTES: dict[str, Any] = {"tags": ["key pool"], "route_class": AuthenticatedRoute}
router = APIRouter(prefix="/kms/pool", **_ROUTES)
status_router = APIRouter(prefix="/kms", **_ROUTES)

AliasInPath = Annotated[
    str,
    Path(max_length=250, pattern=r"^[A-Za-z0-9/_-]+$", description="An alias of the pool without `alias/`."),
]


class NewMode(RequestModel):
    """The mode to set."""

    mode: Annotated[KeyMode, Field(strict=False)]


class RotationView(AnswerModel):
    """Automatic rotation of one key; all null if the service's role may not read it."""

    enabled: bool | None
    period_in_days: int | None
    next_rotation_date: Timestamp | None


class MaterialView(AnswerModel):
    """A version of a key's material, and the wallets under it."""

    key_material_id: str | None = Field(description="null if KMS does not report it")
    current_since: Timestamp | None = Field(description="null for the key's first material")
    wallets: int


class KeyView(AnswerModel):
    """One key of the pool."""

    key_id: str | None = Field(description="ARN; null while the alias names no key")
    alias: str
    region: str | None
    status: KeyStatus
    reason: str = Field(description="why the status is not Active")
    mode: KeyMode
    circuit: str = Field(description="closed, open or half-open, by what this process's own calls met")
    creation_date: Timestamp | None
    last_used_date: Timestamp | None = Field(description="over all replicas, up to about half a minute old")
    wallets: int
    share_of_wallets: float = Field(description="0 to 1: what would be lost with this key")
    wallets_before_rotation: int | None = Field(
        description="wrapped before the key's last rotation, as last counted; null if unknown"
    )
    materials: list[MaterialView] = Field(description="oldest first, as last counted")
    rotation: RotationView
    moved_from: str | None = Field(description="the ARN this alias named before, if it was pointed elsewhere")


class OtherKeyView(AnswerModel):
    """A key outside the pool that has wallets or was used."""

    key_id: str
    wallets: int
    last_used_date: Timestamp | None


class RotationSchedule(AnswerModel):
    """Automatic rotation of the whole pool, and the longest period of its keys.

    `automatic` is true only if KMS rotates every key. `enabled` and `intervalMonths` say the same with the
    ported service's names.
    """

    automatic: bool
    period_in_days: int | None
    enabled: bool = Field(description="as `automatic`")
    interval_months: int | None = Field(description="`periodInDays` in whole months")


class RegionView(AnswerModel):
    """A Region whose KMS opens wallets, as this process sees it."""

    region: str
    role: RegionRole = Field(description="the fallback gets the calls that the primary does not answer")
    circuit: str = Field(description="closed, open or half-open; unless closed, calls are kept away")
    reason: str = Field(description="what opened the circuit, or how the last trial failed; else empty")
    away_since: Timestamp | None


class PoolView(AnswerModel):
    """The key pool; `currentActiveKeys` are the ARNs that take new wallets now."""

    keys: list[KeyView]
    current_active_keys: list[str]
    rotation_schedule: RotationSchedule
    other_keys: list[OtherKeyView]
    regions: list[RegionView]


# The second path is the ported service's: one handler.
@router.get("", openapi_extra=needs(Scope.POOL_READ))
@status_router.get("/status", name="get_status", openapi_extra=needs(Scope.POOL_READ))
async def get_pool(request: Request) -> PoolView:
    """Show every key with its state, mode, rotation, wallets and last use; makes no KMS call."""
    return pool_view(await in_time(request, services(request).pool_service.state))


@router.post("/refresh", openapi_extra=needs(Scope.POOL_ADMIN))
async def refresh_pool(request: Request) -> PoolView:
    """Look up every alias in KMS again, and show the pool."""
    return pool_view(await in_time(request, services(request).pool_service.refresh))


@router.put("/keys/{alias:path}", openapi_extra=needs(Scope.POOL_ADMIN))
async def put_key(request: Request, alias: AliasInPath, body: NewMode) -> KeyView:
    """Drain or reactivate a key; a draining key takes no new wallets and still decrypts."""
    return key_view(
        await in_time(request, services(request).pool_service.set_mode, caller_of(request), alias, body.mode)
    )


def pool_view(state: PoolState) -> PoolView:
    """The pool, as the routes answer it."""
    rotations = [key.info.rotation for key in state.keys]
    periods = [each.period_in_days for each in rotations if each is not None and each.period_in_days]
    return PoolView(
        keys=[key_view(key) for key in state.keys],
        current_active_keys=[
            key.info.key_arn for key in state.keys if isinstance(key.info, DescribedKey) and key.info.wraps
        ],
        rotation_schedule=_schedule(
            automatic=all(each is not None and each.enabled for each in rotations),
            period_in_days=max(periods, default=None),
        ),
        other_keys=[
            OtherKeyView(
                key_id=other.kms_key_id, wallets=other.wallets or 0, last_used_date=other.last_used_at
            )
            for other in state.others
        ],
        regions=[
            RegionView(
                region=each.name,
                role=each.role,
                circuit=each.circuit,
                reason=each.reason,
                away_since=each.away_since,
            )
            for each in state.regions
        ],
    )


def _schedule(*, automatic: bool, period_in_days: int | None) -> RotationSchedule:
    months = None if period_in_days is None else round(period_in_days * 12 / 365)
    return RotationSchedule(
        automatic=automatic, period_in_days=period_in_days, enabled=automatic, interval_months=months
    )


def key_view(key: PoolKey) -> KeyView:
    """One key, as the routes answer it."""
    info = key.info
    return KeyView(
        key_id=info.key_arn,
        alias=info.alias,
        region=info.region,
        status=info.status,
        reason=info.reason,
        mode=info.mode,
        circuit=info.circuit,
        creation_date=info.created_at,
        last_used_date=key.last_used_at,
        wallets=key.wallets,
        share_of_wallets=round(key.share, 6),
        wallets_before_rotation=count_behind(key.materials) if key.materials else None,
        materials=[
            MaterialView(
                key_material_id=each.key_material_id,
                current_since=each.current_since,
                wallets=each.wallets,
            )
            for each in key.materials
        ],
        rotation=_rotation_view(key),
        moved_from=info.moved_from,
    )


def _rotation_view(key: PoolKey) -> RotationView:
    rotation = key.info.rotation
    if rotation is None:
        return RotationView(enabled=None, period_in_days=None, next_rotation_date=None)
    return RotationView(
        enabled=rotation.enabled,
        period_in_days=rotation.period_in_days,
        next_rotation_date=rotation.next_at,
    )
