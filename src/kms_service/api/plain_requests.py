"""The shortest way through a route, for requests that have nothing but what the route asks for.

FastAPI describes a route by the fields that it makes of the endpoint's signature. Judging by these fields is
cheap; what it does around them for every conceivable route is not: a tenth of the CPU of a private key.
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
    """Serves the plain requests of one route, by FastAPI's own fields and with its own answer.

    Plain is a request without a query whose path and body are valid. All others FastAPI serves itself, so
    that what is refused, and how, is said in one place.
    """

    endpoint: Callable[..., Coroutine[Any, Any, Any]]
    path: Sequence[ModelField]
    body: ModelField | None
    request_name: str
    response_name: str | None
    status: int
    answer: ModelField

    @classmethod
    def of(cls, route: APIRoute) -> "PlainRequests | None":
        """Those of a route that takes nothing but a path, a body and options, and answers with a model."""
        takes = route.dependant
        name, answer, body = takes.request_param_name, route.response_field, route.body_field
        asks_more = takes.header_params or takes.cookie_params or takes.dependencies
        shows_less = route.response_model_exclude_none or route.response_model_exclude_unset
        if name is None or answer is None or asks_more or shows_less:
            return None
        if body is not None and (len(takes.body_params) != 1 or body is not takes.body_params[0]):
            return None  # several that lie side by side in one body
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
        """The answer to a plain request; None for another, which has changed nothing so far.

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
            return self._answered(await self.endpoint(**values), self.status)
        told = Response()
        del told.headers["content-length"]
        told.status_code = self.status
        values[self.response_name] = told
        answered = self._answered(await self.endpoint(**values), told.status_code)
        answered.headers.raw.extend(told.headers.raw)
        return answered

    def _answered(self, answer: Any, status: int) -> Response:
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
