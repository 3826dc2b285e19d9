"""A fast path through a route, for requests that carry only what the route asks for.

FastAPI turns an endpoint's signature into fields. Validating by these fields is cheap; the machinery around
them, which serves every conceivable route, is not: it takes a tenth of the CPU of a private-key read.
"""

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi._compat import ModelField
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class PlainRequests:
    """Serves the plain requests of one route with FastAPI's own fields for request and answer.

    A request is plain if it has no query and its path and body are valid. FastAPI serves all others itself,
    so that what is refused, and how, is defined in one place.
    """

    endpoint: Callable[..., Coroutine[Any, Any, Any]]
    path: Sequence[ModelField]
    body: ModelField | None
    request_name: str
    response_name: str | None
    status: int
    answer: ModelField

    @classmethod
    def for_route(cls, route: APIRoute) -> "PlainRequests | None":
        """The fast path of a route that takes path, body and options only, and answers a model; else None."""
        takes = route.dependant
        name, answer, body = takes.request_param_name, route.response_field, route.body_field
        asks_more = takes.header_params or takes.cookie_params or takes.dependencies
        shows_less = route.response_model_exclude_none or route.response_model_exclude_unset
        if name is None or answer is None or asks_more or shows_less:
            return None
        if body is not None and (len(takes.body_params) != 1 or body is not takes.body_params[0]):
            return None  # several parameters share one body
        if any(field.field_info.is_required() for field in takes.query_params):
            return None
        return cls(
            route.endpoint,
            takes.path_params,
            body,
            name,
            takes.response_param_name,
            route.status_code or 200,
            answer,
        )

    async def serve(self, request: Request) -> Response | None:
        """The answer to a plain request; None if FastAPI must serve it, and then nothing has happened yet.

        Raises:
            What the endpoint raises, and what reading a body that is too large or too late raises.
        """
        if request.scope["query_string"]:
            return None
        values = await self._values(request)
        if values is None:
            return None
        values[self.request_name] = request
        if self.response_name is None:
            return self._respond(await self.endpoint(**values), self.status)
        told = Response()
        del told.headers["content-length"]
        told.status_code = self.status
        values[self.response_name] = told
        answered = self._respond(await self.endpoint(**values), told.status_code)
        answered.headers.raw.extend(told.headers.raw)
        return answered

    def _respond(self, answer: Any, status: int) -> Response:
        return Response(self.answer.serialize_json(answer), status, media_type=_JSON)

    async def _values(self, request: Request) -> dict[str, Any] | None:
        values = {}
        for field in self.path:
            value, errors = field.validate(request.path_params[field.alias])
            if errors:
                return None
            values[field.name] = value
        if self.body is not None:
            try:
                sent = await request.json()
            except (json.JSONDecodeError, ClientDisconnect):
                return None
            value, errors = self.body.validate(sent)
            if errors:
                return None
            values[self.body.name] = value
        return values
