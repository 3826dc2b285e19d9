"""Checks that the OpenAPI document lists every problem that a test meets."""

import httpx
from fastapi import FastAPI
from starlette.routing import Match

from kms_service.api import problems
from kms_service.api.openapi.codes import problems_of
from kms_service.api.security import AuthenticatedRoute


def assert_documented(app: FastAPI, response: httpx.Response) -> None:
    """Fail if the response is a problem that is not documented for its operation."""
    if response.headers.get("content-type") != problems.MEDIA_TYPE:
        return
    scope = {"type": "http", "method": response.request.method, "path": response.request.url.path}
    for route in app.routes:
        if isinstance(route, AuthenticatedRoute) and route.matches(scope)[0] is Match.FULL:
            documented = {(members["status"], members["code"]) for members in problems_of(route)}
            met = (response.status_code, response.json()["code"])
            assert met in documented, f"{route.name} does not list {met}"
