"""`/metrics`, answered on the event loop, whatever the workers do."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from kms_service.telemetry.exposition import scrape

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format, or OpenMetrics for who accepts it."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(scrape()), headers={"content-type": content_type})
