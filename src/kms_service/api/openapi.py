"""The OpenAPI document: the routes as FastAPI sees them, and the refusals that every route shares."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from kms_service.api import problems
from kms_service.api.models import Problem
from kms_service.api.security import SECURITY_SCHEMES

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_BODY = (400, 413, 415)
_SECURED = (401, 403, 422, 500, 503)
_JSON = "application/json"


def describe(app: FastAPI) -> None:
    """Have `app` answer `/openapi.json` with every refusal as the problem that it is."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {})["Problem"] = schema
    for operation in _operations(document):
        _add_shared_refusals(operation)
        for answer in operation["responses"].values():
            _name_media_type(answer.get("content", {}))
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (operation for operation in path.values() if isinstance(operation, dict))


def _add_shared_refusals(operation: dict[str, Any]) -> None:
    shared = (_SECURED if "security" in operation else ()) + (_BODY if "requestBody" in operation else ())
    for status in shared:
        answer = {"description": HTTPStatus(status).phrase, "content": {_JSON: {"schema": _PROBLEM}}}
        operation["responses"].setdefault(str(status), answer)


def _name_media_type(content: dict[str, Any]) -> None:
    if content.get(_JSON, {}).get("schema") == _PROBLEM:
        content[problems.MEDIA_TYPE] = content.pop(_JSON)
