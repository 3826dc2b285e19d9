"""Authentication and authorisation of a route, before its body is read or anything is validated."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from kms_service.access.scopes import Caller, Scope
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.asgi.json_body import StrictJsonRequest
from kms_service.api.callers import caller_of, note_caller
from kms_service.api.plain_requests import PlainRequests
from kms_service.errors import NotAuthorized
from kms_service.service.audit.log import Event

SCHEME = "bearerToken"
_ADMITTED = "kms_service.admitted"
SECURITY_SCHEMES = {
    SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token made by `kms-service token create`.",
    }
}


def needs(scope: Scope) -> dict[str, Any]:
    """The `openapi_extra` by which a route declares the one scope that it needs."""
    return {"security": [{SCHEME: [scope.value]}]}


class AuthenticatedRoute(APIRoute):
    """A route that requires a valid token with the scope that the route declares with `needs`.

    Raises:
        ValueError: it is defined without a scope; no wallet route is public.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        security = (kwargs.get("openapi_extra") or {}).get("security")
        if not security:
            raise ValueError(f"{path} declares no scope")
        self.scope = Scope(security[0][SCHEME][0])
        super().__init__(path, endpoint, **kwargs)
        self._takes_body = self.body_field is not None
        self._parameters = {parameter.alias for parameter in self.dependant.query_params}
        self._plain = PlainRequests.for_route(self)
        self._others, self.app = self.app, self._serve

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, for requests that were admitted."""
        handle = super().get_route_handler()

        async def others(request: Request) -> Response:
            return await handle(request.scope[_ADMITTED])

        return others

    async def _serve(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        request = StrictJsonRequest(scope, receive)
        await self._admit(request)
        answer = None if self._plain is None else await self._plain.serve(request)
        if answer is not None:
            await answer(scope, receive, send)
            return
        scope[_ADMITTED] = request
        await self._others(scope, receive, send)

    async def _admit(self, request: Request) -> None:
        """Authenticate, authorise, then check the media type and the names of query parameters."""
        caller = await authenticate(request, bearer_token(request))
        await authorize(request, caller, self.scope, self.path)
        if self._takes_body and not _is_json(request.headers.get("content-type", "")):
            raise HTTPException(415)
        _refuse_others(request, self._parameters)


def bearer_token(request: Request) -> str | None:
    """The token in the request's `Authorization` header; None when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.lstrip(" ")
    return token if scheme.lower() == "bearer" and token else None


async def authenticate(request: Request, token: str | None) -> Caller:
    """The caller who holds this token, recorded with the request.

    Raises:
        NotAuthenticated: no token, or an unknown, expired or revoked one.
        DatabaseUnavailable, Overloaded, TimedOut: it cannot be looked up.
        KmsUnavailable: the keys that authenticate tokens are not loaded yet.
    """
    authenticator = services(request).authenticator
    caller = None if token is None else authenticator.recall(token)
    if caller is None:
        # Outside the bounded work: a caller who waits to be refused takes nobody's place.
        digest = await authenticator.expect(token)
        caller = await in_time(request, authenticator.authenticate, digest)
    note_caller(request, caller)
    return caller


async def authorize(request: Request, caller: Caller, scope: Scope, path: str) -> None:
    """Check that the caller holds the scope that the route with this `path` (a template) needs.

    Raises:
        NotAuthorized: they do not; the refusal is on record.
        AuditUnavailable, Overloaded, TimedOut: they do not, and the refusal could not be recorded.
    """
    try:
        caller.require(scope)
    except NotAuthorized as refusal:
        detail = f"{request.method} {path} needs {refusal.scope}"
        event = Event("authorize", outcome=refusal.code, detail=detail)
        await in_time(request, services(request).audit.record, caller, event)
        raise


async def require(request: Request, scope: Scope) -> None:
    """Check that the caller holds a scope that this request needs in addition to its route's.

    Raises:
        As `authorize`, and NotAuthenticated: the request has no known caller.
    """
    await authorize(request, caller_of(request), scope, request.scope["route"].path)


def _refuse_others(request: Request, parameters: set[str]) -> None:
    # Ignoring a misspelt filter would answer with everything.
    unknown = request.query_params.keys() - parameters
    if unknown:
        message = "is not a parameter of this route"
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("query", name), "msg": message} for name in sorted(unknown)]
        )


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
