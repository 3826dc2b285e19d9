"""`/docs`: Swagger UI with every asset from the service itself.

fastapi-swagger ships the bundle; its own installer is not used, because it writes an inline script, builds
absolute addresses and keeps tokens in the browser's storage. Everything here is relative, so that the page
also works under a reverse proxy's prefix.
"""

from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from types import MappingProxyType

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

_OWN = Path(str(resources.files("kms_service.api.docs")))
_SWAGGER_UI = Path(str(resources.files("fastapi_swagger") / "resources"))
_ASSETS = MappingProxyType(
    {
        "swagger-ui-bundle.js": _SWAGGER_UI,
        "swagger-ui.css": _SWAGGER_UI,
        "favicon-32x32.png": _SWAGGER_UI,
        "start.js": _OWN,
        "page.css": _OWN,
    }
)
# Swagger UI's style sheet holds its icons as data: images. Nothing inline runs, nothing outside is reached,
# and the page cannot be framed: it may show private keys.
_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)


def install_docs(app: FastAPI) -> None:
    """Add `/docs` and its assets to an application that serves `/openapi.json`, which does not list them."""
    page = Template((_OWN / "page.html").read_text()).substitute(title=escape(app.title))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={**_HEADERS, "Cache-Control": "no-cache"})

    @app.get("/docs/{asset}", include_in_schema=False)
    async def docs_asset(asset: str) -> FileResponse:
        if asset not in _ASSETS:
            raise HTTPException(404)
        return FileResponse(
            _ASSETS[asset] / asset, headers={**_HEADERS, "Cache-Control": "private, max-age=3600"}
        )
