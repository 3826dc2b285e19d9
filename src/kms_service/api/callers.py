"""The caller of a request, kept in its ASGI scope once the token is known, where outer layers find it."""

from collections.abc import Mapping

from fastapi import Request

from kms_service.access.scopes import Caller
from kms_service.errors import NotAuthenticated

_KEY = "kms_service.caller"


def note_caller(request: Request, caller: Caller) -> None:
    """Record who makes this request, for every layer that works on it."""
    request.scope[_KEY] = caller


def caller_in(scope: Mapping[str, object]) -> Caller | None:
    """The caller of the request with this scope; None if it had no valid token."""
    caller = scope.get(_KEY)
    return caller if isinstance(caller, Caller) else None


def caller_of(request: Request) -> Caller:
    """The caller of this request, to pass to its use case.

    Raises:
        NotAuthenticated: the request has no known caller.
    """
    caller = caller_in(request.scope)
    if caller is None:
        raise NotAuthenticated("A valid bearer token is required.")
    return caller
