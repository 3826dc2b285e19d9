"""`/rotations`: start, show and control the jobs that move wallets between keys."""

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, model_validator

from kms_service.access.scopes import Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.callers import caller_of
from kms_service.api.models import AnswerModel, Moment, RequestModel, Timestamp
from kms_service.api.security import AuthenticatedRoute, needs
from kms_service.errors import InvalidRequest
from kms_service.kms.control_plane import pricing
from kms_service.service.rewrap.jobs import DEFAULT_RATE, MAX_RATE, RewrapRequest
from kms_service.store.rewrap.jobs import RewrapFailure, RewrapJob, RewrapStatus

MAX_KEYS = 100
FAILURES_SHOWN = 20

router = APIRouter(prefix="/rotations", tags=["rotations"], route_class=AuthenticatedRoute)

KeyName = Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9/_:-]+$")]
KeyNames = Annotated[list[KeyName], Field(min_length=1, max_length=MAX_KEYS)]
RotationId = Annotated[UUID, Path(alias="id")]


# What the members of `RewrapRequest` are called in a body.
_FIELDS = {"sources": "body.from", "wrapped_before": "body.stale.wrappedBefore", "destinations": "body.to"}


class Stale(RequestModel):
    """Wallets under any key whose DEK was wrapped before a time."""

    # JSON has no times, so text is converted.
    wrapped_before: Annotated[Moment, Field(strict=False, description="RFC 3339, not in the future")]


class NewRotation(RequestModel):
    """What to move: the wallets of some keys, or those whose DEK was wrapped before a time."""

    from_: Annotated[KeyNames | None, Field(alias="from", description="Keys to empty: ARNs or aliases")] = (
        None
    )
    stale: Stale | None = None
    to: Annotated[
        KeyNames | None, Field(description="Aliases of the pool; all that take new wallets if absent")
    ] = None
    dry_run: Annotated[bool, Field(description="Count, and change nothing")] = True
    rate_per_second: Annotated[
        float, Field(ge=1, le=MAX_RATE, description="KMS calls a second, over all workers")
    ] = DEFAULT_RATE

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.from_ is None) == (self.stale is None):
            raise ValueError("exactly one of from and stale is required")
        return self


class RotationJob(AnswerModel):
    """A job and its progress."""

    rotation_id: UUID
    status: RewrapStatus
    dry_run: bool
    from_: Annotated[list[str], Field(alias="from", description="ARNs of the keys it empties or refreshes")]
    wrapped_before: Timestamp | None
    to: Annotated[list[str], Field(description="ARNs")]
    rate_per_second: float
    total: int
    done: int
    failed: int
    skipped: Annotated[int, Field(description="Wallets that changed while they were being moved")]
    wallets_per_second: Annotated[float, Field(description="Recent pace; 0 unless running")]
    eta_seconds: Annotated[int | None, Field(description="Null while it makes no progress")]
    kms_calls: int
    kms_cost_usd: Annotated[float, Field(description="At 0.03 USD for 10,000 requests")]
    last_error: str | None
    created_by: str
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None


class RotationJobs(AnswerModel):
    """The latest jobs, newest first."""

    rotations: list[RotationJob]


class FailureView(AnswerModel):
    """A wallet that a job could not move."""

    user_id: str
    code: str
    reason: str
    kms_key_id: str
    at: Timestamp


class RotationDetails(RotationJob):
    """A job with the first of its failures."""

    failures: list[FailureView]


class Failures(AnswerModel):
    """Failures in order of user id; `nextCursor` is null on the last page."""

    failures: list[FailureView]
    next_cursor: str | None


@router.post("", status_code=202, openapi_extra=needs(Scope.ROTATIONS_ADMIN))
async def start_rotation(request: Request, body: NewRotation, response: Response) -> RotationJob:
    """Start a job that moves wallets; with `dryRun`, the default, only count them. One job runs at a time."""
    asked = RewrapRequest(
        sources=body.from_,
        wrapped_before=None if body.stale is None else body.stale.wrapped_before,
        destinations=body.to,
        dry_run=body.dry_run,
        rate_per_second=body.rate_per_second,
    )
    try:
        job = await in_time(request, services(request).rewrap_jobs.start, caller_of(request), asked)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), _FIELDS[error.field]) from error
    response.headers["Location"] = f"/rotations/{job.rotation_id}"
    return job_view(job)


@router.get("", openapi_extra=needs(Scope.ROTATIONS_READ))
async def list_rotations(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> RotationJobs:
    """List the latest jobs, dry runs included, newest first."""
    jobs = await in_time(request, services(request).rewrap_jobs.newest, limit)
    return RotationJobs(rotations=[job_view(job) for job in jobs])


@router.get("/{id}", openapi_extra=needs(Scope.ROTATIONS_READ))
async def get_rotation(request: Request, rotation_id: RotationId) -> RotationDetails:
    """Get a job, its progress, and the first wallets that it could not move."""
    service = services(request).rewrap_jobs
    job = await in_time(request, service.find, rotation_id)
    failures = await in_time(request, service.failures, rotation_id, limit=FAILURES_SHOWN, after="")
    return details_view(job, failures)


@router.get("/{id}/failures", openapi_extra=needs(Scope.ROTATIONS_READ))
async def list_failures(
    request: Request,
    rotation_id: RotationId,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str, Query(max_length=128, pattern=r"^[A-Za-z0-9._:@-]*$")] = "",
) -> Failures:
    """List all wallets that a job could not move; `cursor` is the user id to continue after."""
    service = services(request).rewrap_jobs
    failures = await in_time(request, service.failures, rotation_id, limit=limit + 1, after=cursor)
    more = len(failures) > limit
    shown = [failure_view(failure) for failure in failures[:limit]]
    return Failures(failures=shown, next_cursor=shown[-1].user_id if more else None)


@router.post("/{id}/pause", openapi_extra=needs(Scope.ROTATIONS_ADMIN))
async def pause_rotation(request: Request, rotation_id: RotationId) -> RotationJob:
    """Pause a job: its workers stop within seconds, and nothing is lost."""
    return job_view(
        await in_time(request, services(request).rewrap_jobs.pause, caller_of(request), rotation_id)
    )


@router.post("/{id}/resume", openapi_extra=needs(Scope.ROTATIONS_ADMIN))
async def resume_rotation(request: Request, rotation_id: RotationId) -> RotationJob:
    """Resume a paused job where it stopped."""
    return job_view(
        await in_time(request, services(request).rewrap_jobs.resume, caller_of(request), rotation_id)
    )


@router.post("/{id}/cancel", openapi_extra=needs(Scope.ROTATIONS_ADMIN))
async def cancel_rotation(request: Request, rotation_id: RotationId) -> RotationJob:
    """Cancel a job; wallets that were moved stay moved."""
    return job_view(
        await in_time(request, services(request).rewrap_jobs.cancel, caller_of(request), rotation_id)
    )


def job_view(job: RewrapJob) -> RotationJob:
    """A job, as the routes answer it."""
    return RotationJob(**_members(job))


def details_view(job: RewrapJob, failures: list[RewrapFailure]) -> RotationDetails:
    """A job with some of its failures, as the route answers it."""
    return RotationDetails(**_members(job), failures=[failure_view(failure) for failure in failures])


def failure_view(failure: RewrapFailure) -> FailureView:
    """A failure, as the routes answer it."""
    return FailureView(
        user_id=failure.user_id,
        code=failure.code,
        reason=failure.reason,
        kms_key_id=failure.kms_key_id,
        at=failure.at,
    )


def _members(job: RewrapJob) -> dict[str, Any]:
    return {
        "rotation_id": job.rotation_id,
        "status": job.status,
        "dry_run": job.dry_run,
        "from_": list(job.sources),
        "wrapped_before": job.wrapped_before,
        "to": list(job.destinations),
        "rate_per_second": job.rate_per_second,
        "total": max(job.total, job.processed),
        "done": job.done,
        "failed": job.failed,
        "skipped": job.skipped,
        "wallets_per_second": round(job.rate, 1),
        "eta_seconds": job.eta_seconds,
        "kms_calls": job.kms_calls,
        "kms_cost_usd": float(job.kms_calls * pricing.REQUEST),
        "last_error": job.last_error,
        "created_by": job.created_by,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
