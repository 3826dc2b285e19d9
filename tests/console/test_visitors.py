"""Who may see the page, how a browser signs in, and what its cookie can do."""

from dataclasses import replace
from http.cookies import Morsel, SimpleCookie

import pytest
from httpx import Response

from asgi_client import AsgiClient
from calling import Service, make_token
from event_loop import complete
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.api.console.visitors import KNOWN_VISITORS, Visitors
from kms_service.bootstrap import Services
from wiring import TESTER, invented_token


@pytest.fixture(scope="module")
def token(console: Service) -> str:
    """A token that can look at the pool, and nothing else."""
    return make_token(console.services, Scope.POOL_READ)


def _sign_in(console: Service, token: str, **headers: str) -> Response:
    answer = console.call("POST", "/console", token="", data={"token": token}, headers=headers)
    console.client.cookies.clear()
    return answer


def _with_cookie(console: Service, token: str, path: str = "/console", method: str = "GET") -> Response:
    answer = console.call(method, path, token="", headers={"Cookie": f"kms-console={token}"})
    console.client.cookies.clear()
    return answer


def _cookie(answer: Response) -> Morsel[str]:
    return SimpleCookie(answer.headers["set-cookie"])["kms-console"]


def _count(console: Service, name: str) -> float:
    lines = console.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def _with_settings(services: Services, **changes: object) -> Services:
    return replace(services, settings=services.settings.model_copy(update=changes))


def test_the_page_does_not_exist_unless_it_is_switched_on(console: Service) -> None:
    app = create_app(_with_settings(console.services, console_enabled=False), owns_process=False)
    client = AsgiClient(app, console.token)
    assert client.get("/console").status_code == 404
    assert client.post("/console", data={"token": console.token}).status_code == 404
    assert client.post("/console/sign-out").status_code == 404


def test_the_page_needs_pool_read_and_no_other_scope_will_do(console: Service) -> None:
    for scope in Scope:
        answer = console.call("GET", "/console", token=make_token(console.services, scope))
        assert answer.status_code == (200 if scope is Scope.POOL_READ else 403), scope
        if scope is not Scope.POOL_READ:
            assert "This token lacks the scope pool:read." in answer.text
    others = [scope for scope in Scope if scope is not Scope.POOL_READ]
    everything_else = make_token(console.services, *others)
    assert _with_cookie(console, everything_else).status_code == 403
    assert _sign_in(console, everything_else).status_code == 403


def test_a_refusal_is_on_record(console: Service) -> None:
    console.call("GET", "/console", token=make_token(console.services, Scope.AUDIT_READ))
    (event,) = console.call("GET", "/audit/events", params={"limit": 1}).json()["events"]
    assert (event["action"], event["outcome"]) == ("authorize", "not_authorized")
    assert event["detail"] == "GET /console needs pool:read"


def test_without_a_token_the_form_is_shown_and_no_failure_counted(console: Service) -> None:
    before = _count(console, "kms_service_authentication_failures_total")
    answer = console.call("GET", "/console", token="")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert '<input id="token"' in answer.text
    assert "Empressa" not in answer.text
    assert _count(console, "kms_service_authentication_failures_total") == before


@pytest.mark.parametrize(
    "wrong",
    [invented_token(), "kms_short", "é", "", "x" * 5000],
    ids=["unknown", "short", "foreign", "empty", "long"],  # a token's own id would differ between processes
)
def test_a_wrong_token_is_refused_and_counted(console: Service, wrong: str) -> None:
    before = _count(console, "kms_service_authentication_failures_total")
    answer = _sign_in(console, wrong)
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert not wrong or wrong not in answer.text
    assert _count(console, "kms_service_authentication_failures_total") == before + 1


def test_signing_in_gives_a_cookie_for_this_page_only(console: Service, token: str) -> None:
    answer = _sign_in(console, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "console")
    assert token not in answer.text
    cookie = _cookie(answer)
    assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == ("/console", "strict", "900")
    assert (cookie["httponly"], cookie["secure"], cookie["domain"]) == (True, "", "")
    assert _with_cookie(console, cookie.value).status_code == 200
    for path in ("/kms/pool", "/seal"):
        assert _with_cookie(console, cookie.value, path).status_code == 401


def test_over_https_the_cookie_is_secure(console: Service, token: str) -> None:
    """As the server sees it, or as a proxy says that the server does not know."""
    client = AsgiClient(create_app(console.services, owns_process=False), "")
    form = {"data": {"token": token}}
    for address, headers in (("https://service", {}), ("", {"X-Forwarded-Proto": "https"})):
        answer = client.post(f"{address}/console", headers=headers, **form)
        assert _cookie(answer)["secure"] is True, address


def test_viewing_renews_the_cookie_and_a_bearer_token_gets_none(console: Service, token: str) -> None:
    assert _cookie(_with_cookie(console, token))["max-age"] == "900"
    assert "set-cookie" not in console.call("GET", "/console", token=token).headers


def test_signing_out_ends_the_session(console: Service, token: str) -> None:
    answer = _with_cookie(console, token, "/console/sign-out", "POST")
    assert (answer.status_code, answer.headers["location"]) == (303, "../console")
    cookie = _cookie(answer)
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/console")


def test_a_revoked_token_opens_nothing_within_seconds(console: Service) -> None:
    made = complete(
        console.services.tokens.create(
            TESTER,
            "leaving",
            [Scope.POOL_READ],
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
    )
    assert _with_cookie(console, made.secret).status_code == 200
    complete(console.services.tokens.revoke(TESTER, "leaving"))
    console.clock.pass_by(2)
    answer = _with_cookie(console, made.secret)
    assert (answer.status_code, _cookie(answer)["max-age"]) == (401, "0")


ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_no_other_site_signs_a_visitor_in_or_out(
    console: Service, token: str, headers: dict[str, str]
) -> None:
    signed_in = _sign_in(console, token, **headers)
    signed_out = console.call("POST", "/console/sign-out", token="", headers=headers)
    for answer in (signed_in, signed_out):
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_the_page_itself_can_sign_a_visitor_in(console: Service, token: str) -> None:
    host = console.client.base_url.netloc.decode()
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": f"http://{host}"}):
        assert _sign_in(console, token, **headers).status_code == 303


def test_after_a_link_from_elsewhere_the_page_asks_for_itself_again(console: Service) -> None:
    for site, refresh in (("cross-site", "0"), ("same-origin", None), ("none", None)):
        answer = console.call("GET", "/console", token="", headers={"Sec-Fetch-Site": site})
        assert answer.headers.get("refresh") == refresh, site


def test_a_token_that_can_do_more_than_look_is_refused_in_a_browser(console: Service) -> None:
    real = _with_settings(console.services, aws_endpoint_url_kms=None)
    client = AsgiClient(create_app(real, owns_process=False), "")
    powerful = make_token(console.services, Scope.POOL_READ, Scope.WALLETS_SIGN)
    looking = make_token(console.services, Scope.POOL_READ, Scope.AUDIT_READ)
    refused = client.post("/console", data={"token": powerful})
    assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
    assert "can do more than look" in refused.text
    assert client.post("/console", data={"token": looking}).status_code == 303
    # On the laptop no key is worth anything.
    assert _sign_in(console, powerful).status_code == 303


def test_visitors_do_not_fill_the_memory() -> None:
    visitors = Visitors()
    for number in range(3 * KNOWN_VISITORS):
        visitors._remember(number.to_bytes(4), None)  # type: ignore[arg-type]
        assert len(visitors._known) <= KNOWN_VISITORS


def test_a_form_with_too_many_fields_is_refused(console: Service) -> None:
    body = "&".join(f"token={number}" for number in range(50))
    answer = console.call("POST", "/console", token="", content=body)
    assert answer.status_code == 401
