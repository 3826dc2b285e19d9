"""The routes of the page: view, sign in, sign out."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from kms_service import context
from kms_service.api import problems
from kms_service.api.asgi.in_flight import in_time, services
from kms_service.api.console import page, policies, visitors
from kms_service.api.console.visitors import PATH, Visitor, Visitors
from kms_service.errors import KmsServiceError, NotAuthenticated, Overloaded, TimedOut

REFRESH_SECONDS = 15
# A slower read continues for the next view; this one shows what was known before.
_READ_SECONDS = 3.0
_FROM_ELSEWHERE = "That came from another site. Sign in here."
_NOT_VALID = "This token is not valid: unknown, expired or revoked."
_TOO_POWERFUL = (
    "This token can do more than look, so it does not belong in a browser. Make one for this page: "
    "kms-service token create NAME --scope pool:read"
)


router = APIRouter(include_in_schema=False)


def install_console(app: FastAPI) -> None:
    """Add `/console` to an application; `/openapi.json` does not list it."""
    app.state.console_visitors = Visitors()
    app.router.routes.extend(router.routes)  # as in `create_app`, for the same reason


@router.get(PATH)
async def console(request: Request, paused: str | None = None) -> HTMLResponse:
    """The page, or the sign-in form for a visitor without a valid token."""
    if visitors.token_of(request) is None:
        return await _door(request)
    try:
        visitor = await _visitors(request).admit(request)
    except KmsServiceError as error:
        answer = await _refuse(request, error)
        if isinstance(error, NotAuthenticated):
            visitors.sign_out(request, answer)
        return answer
    return await _overview(request, visitor, paused=paused is not None)


@router.get(f"{PATH}/policies")
async def about_policies(request: Request) -> HTMLResponse:
    """The page about policies, or the sign-in form, which leads to the overview."""
    if visitors.token_of(request) is None:
        return await _door(request)
    try:
        visitor = await _visitors(request).admit(request)
        with context.deadline(_READ_SECONDS):
            now = await in_time(request, policies.read, services(request))
    except KmsServiceError as error:
        return await _refuse(request, error)
    answer = await asyncio.to_thread(page.about_policies, now, visitor)
    if visitor.by_cookie:
        visitors.keep_signed_in(request, answer, request.cookies[visitors.COOKIE])
    return answer


@router.post(PATH, response_model=None)
async def sign_in(request: Request) -> HTMLResponse | RedirectResponse:
    """Set a valid token as the page's cookie."""
    if visitors.is_from_elsewhere(request):
        return await _form(request, HTTPStatus.FORBIDDEN, _FROM_ELSEWHERE)
    token = await visitors.token_in(request)
    try:
        caller = await _visitors(request).enter(request, token)
    except KmsServiceError as error:
        return await _refuse(request, error)
    if not caller.only_looks and not services(request).settings.uses_kms_stand_in:
        return await _form(request, HTTPStatus.FORBIDDEN, _TOO_POWERFUL)
    answer = RedirectResponse("console", HTTPStatus.SEE_OTHER, page.headers())
    visitors.keep_signed_in(request, answer, str(token))
    return answer


@router.post(f"{PATH}/sign-out", response_model=None)
async def sign_out(request: Request) -> HTMLResponse | RedirectResponse:
    """Delete the cookie."""
    if visitors.is_from_elsewhere(request):
        return await _form(request, HTTPStatus.FORBIDDEN, _FROM_ELSEWHERE)
    answer = RedirectResponse("../console", HTTPStatus.SEE_OTHER, page.headers())
    visitors.sign_out(request, answer)
    return answer


def _visitors(request: Request) -> Visitors:
    known: Visitors = request.app.state.console_visitors
    return known


async def _overview(request: Request, visitor: Visitor, *, paused: bool) -> HTMLResponse:
    overviews = services(request).overviews
    with suppress(Overloaded, TimedOut), context.deadline(_READ_SECONDS):
        await in_time(request, overviews.read)
    refresh = None if paused else REFRESH_SECONDS
    answer = await asyncio.to_thread(
        page.overview, overviews.now(), visitor, services(request).settings, refresh
    )
    if visitor.by_cookie:
        visitors.keep_signed_in(request, answer, request.cookies[visitors.COOKIE])
    return answer


async def _door(request: Request) -> HTMLResponse:
    """The form for a visitor without a token, which does not count as a failure."""
    answer = await _form(request, HTTPStatus.UNAUTHORIZED, "")
    answer.headers["www-authenticate"] = "Bearer"
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        # A link in a chat or an alert sends no strict cookie; a reload from this page does.
        answer.headers["refresh"] = "0"
    return answer


async def _refuse(request: Request, error: KmsServiceError) -> HTMLResponse:
    problem = problems.response(error)  # counted as any other
    words = _NOT_VALID if isinstance(error, NotAuthenticated) else str(error)
    answer = await _form(request, problem.status_code, words)
    for name in ("www-authenticate", "retry-after"):
        if name in problem.headers:
            answer.headers[name] = problem.headers[name]
    if problem.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        answer.headers["refresh"] = str(REFRESH_SECONDS)
    return answer


async def _form(request: Request, status: int, words: str) -> HTMLResponse:
    # In a thread, like the page: the first one loads the template engine, which takes a tenth of a second.
    health = services(request).readiness.health()
    action = "console" if request.url.path.endswith(PATH) else "../console"
    return await asyncio.to_thread(page.sign_in, status, words, health, action)
