"""`/livez`, `/readyz` and `/health`: outside the bounded work, they answer even when every place is taken."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from kms_service.api.asgi.in_flight import services
from kms_service.api.models import AnswerModel

router = APIRouter(tags=["operation"])


class Liveness(AnswerModel):
    """The process answers."""

    status: str


class ReadinessView(AnswerModel):
    """Whether the process can serve, and how each dependency did lately."""

    status: str
    checks: dict[str, str]


# Some load balancers probe with HEAD; describing it would repeat everything.
@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Liveness:
    """Answer 200 while the process runs; touches nothing else."""
    return Liveness(status="ok")


@router.head("/health", include_in_schema=False)
@router.head("/readyz", include_in_schema=False)
@router.get(
    "/health", name="health", responses={200: {"model": ReadinessView}, 503: {"model": ReadinessView}}
)
@router.get("/readyz", responses={200: {"model": ReadinessView}, 503: {"model": ReadinessView}})
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 if requests can be served, else 503, judged by recent outcomes."""
    health = services(request).readiness.health()
    content = {"status": "ok" if health.ready else "unavailable", "checks": health.checks}
    return JSONResponse(content, 200 if health.ready else 503)
