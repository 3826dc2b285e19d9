"""Who may see the page: callers with the usual bearer header, or with a cookie that holds the same token.

A browser does not send a bearer header itself, so a form takes the token once and returns it as a cookie.
Only this page receives the cookie, no script can read it, and it lasts a quarter of an hour unless the page
is open. Every request looks the token up again, so a revoked token opens nothing, with one exception: while
the database does not answer, visitors whom this process admitted within the last quarter of an hour may keep
looking. That is when the page is needed most, and it then shows only what the process itself knows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from fastapi import Request, Response

from kms_service import context
from kms_service.access import tokens
from kms_service.access.scopes import Caller, Scope
from kms_service.api.asgi.in_flight import services
from kms_service.api.callers import note_caller
from kms_service.api.security import authenticate, authorize, bearer_token
from kms_service.errors import DatabaseUnavailable, NotAuthenticated, Overloaded, TimedOut

PATH = "/console"
COOKIE = "kms-console"
SIGNED_IN_SECONDS = 900
KNOWN_SECONDS = 900.0
KNOWN_VISITORS = 256
# The page is needed most when nothing answers: this leaves as much time again to read what it shows.
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page, and whether the token was looked up just now."""

    caller: Caller
    checked: bool
    by_cookie: bool


class Visitors:
    """Admits holders of a valid token with `pool:read`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Caller, float]] = {}

    async def admit(self, request: Request) -> Visitor:
        """The visitor behind a request.

        Raises:
            NotAuthenticated: no token, or an unknown, expired or revoked one.
            NotAuthorized: the token lacks `pool:read`.
            DatabaseUnavailable, Overloaded, TimedOut: it cannot be looked up, and was not lately.
        """
        caller, checked = await self._caller(request, token_of(request))
        await authorize(request, caller, Scope.POOL_READ, PATH)
        return Visitor(caller, checked, by_cookie=bearer_token(request) is None)

    async def enter(self, request: Request, token: str | None) -> Caller:
        """The holder of a token given in the form; raises as `admit`, but always looks the token up."""
        with context.deadline(PATIENCE_SECONDS):
            caller = await authenticate(request, token)
        await authorize(request, caller, Scope.POOL_READ, PATH)
        return caller

    async def _caller(self, request: Request, token: str | None) -> tuple[Caller, bool]:
        digest = tokens.digest(token) if token is not None else None
        known = self._recall(digest)
        if known is not None and services(request).readiness.database_away_since is not None:
            note_caller(request, known)
            return known, False
        try:
            with context.deadline(PATIENCE_SECONDS):
                caller = await authenticate(request, token)
        except NotAuthenticated:
            self._known.pop(digest or b"", None)
            raise
        except (DatabaseUnavailable, Overloaded, TimedOut):
            if known is None:
                raise
            note_caller(request, known)
            return known, False
        self._remember(digest, caller)
        return caller, True

    def _recall(self, digest: bytes | None) -> Caller | None:
        caller, until = self._known.get(digest or b"", (None, 0.0))
        return caller if self._clock() < until else None

    def _remember(self, digest: bytes | None, caller: Caller) -> None:
        if len(self._known) >= KNOWN_VISITORS:
            self._known.clear()
        self._known[digest or b""] = (caller, self._clock() + KNOWN_SECONDS)


def token_of(request: Request) -> str | None:
    """The visitor's token: from the bearer header, or else from the cookie."""
    return bearer_token(request) or request.cookies.get(COOKIE)


def is_from_elsewhere(request: Request) -> bool:
    """Whether the browser says that another site made this request: those must not sign a visitor in or out.

    A client that sends neither header is not a browser, and has no cookies that could be misused.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


async def token_in(request: Request) -> str | None:
    """The token in a sign-in form; None when there is none."""
    try:
        fields = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10)
    except ValueError:  # more fields than the form has
        return None
    return fields.get("token", [""])[0].strip() or None


def keep_signed_in(request: Request, response: Response, token: str) -> None:
    """Have the browser send this token to the page, and to nothing else, for a quarter of an hour."""
    _set_cookie(request, response, token, SIGNED_IN_SECONDS)


def sign_out(request: Request, response: Response) -> None:
    """Have the browser forget the token."""
    _set_cookie(request, response, "", 0)


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path=f"{request.scope.get('root_path', '')}{PATH}",
        # A proxy that says so wrongly only costs its own visitors their cookie.
        secure="https" in {request.url.scheme, request.headers.get("x-forwarded-proto")},
        httponly=True,
        samesite="strict",
    )
