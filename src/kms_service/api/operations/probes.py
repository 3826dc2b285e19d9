"""`/livez`, `/readyz` and `/health`: answered on the event loop, whatever the workers do."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from kms_service.api.asgi.in_flight import services
from kms_service.api.models import AnswerModel

router = APIRouter(tags=["operation"])


class Liveness(AnswerModel):
    """The process answers."""

    status: str


class ReadinessView(AnswerModel):
    """Whether the process can serve, and what each dependency did lately."""

    status: str
    checks: dict[str, str]


# HEAD is what some load balancers probe with; a description of it would say everything twice.
@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Liveness:
    """200 while the process answers; touches nothing else."""
    return Liveness(status="ok")


@router.head("/health", include_in_schema=False)
@router.head("/readyz", include_in_schema=False)
@router.get(
    "/health", name="health", responses={200: {"model": ReadinessView}, 503: {"model": ReadinessView}}
)
@router.get("/readyz", responses={200: {"model": ReadinessView}, 503: {"model": ReadinessView}})
async def readyz(request: Request) -> JSONResponse:
    """200 when requests can be served, else 503; told from recent outcomes."""
    health = services(request).readiness.health()
    content = {"status": "ok" if health.ready else "unavailable", "checks": health.checks}
    return JSONResponse(content, 200 if health.ready else 503)
