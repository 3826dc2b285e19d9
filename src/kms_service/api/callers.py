"""Who makes a request, noted in its ASGI scope once their token is known: the outer layers see it there."""

from collections.abc import Mapping

from fastapi import Request

from kms_service.access.scopes import Caller
from kms_service.errors import NotAuthenticated

_KEY = "kms_service.caller"


def note_caller(request: Request, caller: Caller) -> None:
    """Have everything that works on this request know who makes it."""
    request.scope[_KEY] = caller


def noted_caller(scope: Mapping[str, object]) -> Caller | None:
    """Who makes the request of this scope; None for one without a valid token."""
    caller = scope.get(_KEY)
    return caller if isinstance(caller, Caller) else None


def caller_of(request: Request) -> Caller:
    """Who makes this request, for the use case that they ask for.

    Raises:
        NotAuthenticated: nobody that is known, so nothing is done for them.
    """
    caller = noted_caller(request.scope)
    if caller is None:
        raise NotAuthenticated("A valid bearer token is required.")
    return caller
