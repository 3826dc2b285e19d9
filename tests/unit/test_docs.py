"""The documentation page: it loads everything from the service itself, and nothing from elsewhere."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from kms_service.api.docs import install_docs

Get = Callable[[str], Response]


def _get(app: FastAPI, address: str) -> Response:
    async def get() -> Response:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://service") as client:
            return await client.get(address)

    return asyncio.run(get())


@pytest.fixture
def get() -> Get:
    app = FastAPI(title="kms <service>", docs_url=None, redoc_url=None)
    install_docs(app)
    return partial(_get, app)


class _Page(HTMLParser):
    """Collects what a browser would load, and whatever is inline."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._in: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        for name, value in attrs:
            if name in ("src", "href"):
                self.loads.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(name)

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style") and data.strip():
            self.inline.append(data)


def _page(get: Get) -> _Page:
    page = _Page()
    page.feed(get("/docs").text)
    return page


def test_everything_the_page_loads_is_relative_and_there(get: Get) -> None:
    loads = _page(get).loads
    assert len(loads) == 6
    for address in loads:
        assert not re.match(r"(?i)[a-z]+:|/", address), f"{address} is not relative"
        assert get(f"/{address}").status_code == 200, address


def test_our_own_assets_name_no_address_outside(get: Get) -> None:
    for address in ("/docs", "/docs/start.js", "/docs/page.css"):
        assert "//" not in re.sub(r"(?m)^\s*//.*$", "", get(address).text), address


def test_the_style_sheets_load_nothing_from_elsewhere(get: Get) -> None:
    for name in ("swagger-ui.css", "page.css"):
        text = get(f"/docs/{name}").text
        assert "@import" not in text
        assert re.findall(r"url\(\s*(?!['\"]?data:)", text) == []


def test_the_policy_lets_nothing_inline_run_and_nothing_frame_the_page(get: Get) -> None:
    for address in ("/docs", "/docs/swagger-ui-bundle.js", "/docs/start.js"):
        headers = get(address).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert _page(get).inline == []


def test_tokens_are_not_kept_and_nothing_is_validated_elsewhere(get: Get) -> None:
    start = get("/docs/start.js").text
    assert "persistAuthorization: false" in start
    assert "validatorUrl: null" in start


def test_the_title_is_escaped(get: Get) -> None:
    assert "<title>kms &lt;service&gt; · API</title>" in get("/docs").text


@pytest.mark.parametrize("asset", ["page.html", "__init__.py", "..%2f__init__.py", "nothing"])
def test_only_the_assets_are_served(get: Get, asset: str) -> None:
    assert get(f"/docs/{asset}").status_code == 404


def test_the_page_is_in_no_schema(get: Get) -> None:
    assert get("/openapi.json").json()["paths"] == {}


def test_with_docs_disabled_there_is_no_page() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    assert _get(app, "/docs").status_code == 404
    assert _get(app, "/docs/start.js").status_code == 404
