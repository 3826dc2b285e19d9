"""`/metrics`, served outside the bounded work: it answers even when every place is taken."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from kms_service.telemetry.exposition import scrape

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Get the metrics in the Prometheus text format, or in OpenMetrics if the request accepts it."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(scrape()), headers={"content-type": content_type})
