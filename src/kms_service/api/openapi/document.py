"""The OpenAPI document: adds names, descriptions, error codes and examples to FastAPI's own."""

from collections.abc import Iterator
from http import HTTPStatus
from inspect import getdoc
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel

from kms_service.api import problems
from kms_service.api.models import Problem
from kms_service.api.openapi.codes import problems_of
from kms_service.api.openapi.examples import EXAMPLES
from kms_service.api.security import SECURITY_SCHEMES

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_JSON = "application/json"
# What FastAPI answers to an invalid request; this service answers a problem.
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Have `app` answer `/openapi.json` with a name, a description and an example for every operation."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for unused in _FASTAPIS_OWN:
        schemas.pop(unused, None)
    for route, operation in _operations(app, document):
        operation["operationId"] = to_camel(route.name)
        _put_into_words(route, operation)
        _add_problems(route, operation)
        _add_examples(operation)
    return document


def _operations(app: FastAPI, document: dict[str, Any]) -> Iterator[tuple[APIRoute, dict[str, Any]]]:
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                yield route, document["paths"][route.path_format][method.lower()]


def _put_into_words(route: APIRoute, operation: dict[str, Any]) -> None:
    text = getdoc(route.endpoint) or ""
    operation["summary"] = text.splitlines()[0].removesuffix(".")
    if scopes := [scope for needed in operation.get("security", ()) for scope in next(iter(needed.values()))]:
        text += f"\n\nNeeds the scope `{'`, `'.join(scopes)}`."
    operation["description"] = text


def _add_problems(route: APIRoute, operation: dict[str, Any]) -> None:
    answers: dict[str, Any] = operation["responses"]
    if "security" in operation:
        # FastAPI's own entries for these have no codes.
        for status in [status for status in answers if int(status) >= HTTPStatus.BAD_REQUEST]:
            del answers[status]
    for members in problems_of(route):
        status = members["status"]
        answer = answers.setdefault(str(status), _refusal(status))
        examples = answer["content"][problems.MEDIA_TYPE]["examples"]
        answer["description"] += f"{',' if examples else ':'} `{members['code']}`"
        examples[members["code"]] = {"value": members}


def _refusal(status: int) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": _PROBLEM, "examples": {}}}
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        seconds = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
        answer["headers"] = {"Retry-After": seconds}
    return answer


def _add_examples(operation: dict[str, Any]) -> None:
    example = EXAMPLES.get(operation["operationId"])
    if example is None:
        return
    if example.request is not None:
        operation["requestBody"]["content"][_JSON]["example"] = example.request
    for status, answer in example.answers.items():
        operation["responses"][str(status)]["content"][_JSON]["example"] = answer
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in example.parameters:
            parameter["example"] = example.parameters[parameter["name"]]
