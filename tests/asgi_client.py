"""Requests straight into the ASGI application, without a socket."""

from typing import Any

import httpx
from fastapi import FastAPI

from event_loop import complete


class AsgiClient:
    """Sends requests with one bearer token."""

    def __init__(self, app: FastAPI, token: str) -> None:
        self._app = app
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request, and return the whole answer."""
        return complete(self._request(method, path, options))

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://service", headers=self._headers
        ) as client:
            return await client.request(method, path, **options)
