"""What the page shows when all is well and when parts are unavailable, and what it never shows."""

import ast
import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from httpx import Response

from calling import Service, make_token
from event_loop import complete, enter
from kms_endpoint import Reset
from kms_service.access.scopes import Caller, Scope
from kms_service.api.console import attention
from kms_service.local.postgres import PostgresServer
from kms_service.service.access.authenticate import REMEMBERED_SECONDS
from kms_service.service.audit.log import Event
from kms_service.service.rewrap.jobs import RewrapRequest
from wiring import TESTER

HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def token(console: Service) -> str:
    return make_token(console.services, Scope.POOL_READ)


@pytest.fixture(scope="module")
def look(console: Service, token: str) -> "Look":
    console.create("console-user")
    return Look(console, token)


class Look:
    """The page as one visitor sees it."""

    def __init__(self, console: Service, token: str) -> None:
        self._console = console
        self._token = token

    def answer(self, path: str = "/console") -> Response:
        return self._console.call("GET", path, token=self._token)

    def text(self) -> str:
        """What is read on it, without mark-up, and with single spaces."""
        answer = self.answer()
        assert answer.status_code == 200
        body = re.sub(r"(?s)<style>.*?</style>", "", answer.text)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_page_says_when_all_is_well(console: Service, look: Look) -> None:
    for key in console.kms.store.keys.values():
        key.rotation_period, key.rotation_enabled_at = 365, key.created
    complete(console.services.pool.refresh())
    text = look.text()
    assert "All is well" in text
    assert "Releases open" in text
    assert "Database answers" in text
    assert "10 of 10 keys take them" in text
    for number in range(1, 11):
        assert f"Empressa-wallet-key-{number} ● active" in text
    assert re.search(r"1 100\.0% closed", text)
    assert re.search(r"wallet\.create ok", text)
    assert re.search(r"Taken \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)


def test_every_answer_forbids_everything_else(console: Service, look: Look) -> None:
    answers = [
        look.answer(),
        console.call("GET", "/console", token=""),
        console.call("GET", "/console", token=make_token(console.services, Scope.AUDIT_READ)),
        console.call("POST", "/console", token="", data={"token": "x"}),
        console.call("POST", "/console", token="", headers={"Sec-Fetch-Site": "cross-site"}),
        console.call("POST", "/console/sign-out", token=""),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 403, 401, 403, 303]
    for answer in answers:
        headers = answer.headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert not {"script-src", "connect-src"} & policy.keys()
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        for style in re.findall(r"(?s)<style>(.*?)</style>", answer.text):
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert policy["style-src"] == f"'sha256-{digest}'"


def test_the_page_is_one_small_answer_that_loads_nothing(look: Look) -> None:
    text = look.answer().text
    assert len(text.encode()) < 50_000
    assert "<script" not in text
    assert not re.search(r"\s(style|on[a-z]+)=", text)
    assert set(re.findall(r"\w+://[^\s'\"]+", text)) == {"http://www.w3.org/2000/svg"}
    loaded = re.findall(r'<(?:link|img|source|iframe)[^>]*(?:href|src)="([^"]*)', text)
    assert [address.partition(":")[0] for address in loaded] == ["data"]


def test_the_page_refreshes_unless_it_is_paused(look: Look) -> None:
    assert look.answer().headers["refresh"] == "15"
    assert "refresh" not in look.answer("/console?paused=1").headers


def test_the_page_shows_no_user_address_token_or_secret(console: Service, look: Look, token: str) -> None:
    address = console.create("secret-user").json()["walletAddress"]
    private_key = console.call("GET", "/wallets/secret-user/private-key").json()["privateKey"]
    text = look.answer().text
    assert "private_key.read" in text
    for secret in ("secret-user", address, private_key, private_key[2:], token, console.token, "password"):
        assert secret not in text


def test_failures_do_not_scroll_away(console: Service, look: Look) -> None:
    complete(console.services.audit.record(TESTER, Event("private_key.read", outcome="integrity_failure")))
    for _ in range(20):
        complete(console.services.audit.record(TESTER, Event("wallet.create")))
    text = look.text()
    assert text.count("wallet.create ok") == 6
    assert "private_key.read integrity_failure" in text


@contextmanager
def _seal(console: Service, reason: str) -> Iterator[None]:
    console.call("POST", "/seal", json={"reason": reason})
    yield
    console.unseal()


def test_text_from_callers_is_escaped(console: Service, look: Look) -> None:
    stranger = Caller.without_bounds(HOSTILE[:60])
    complete(console.services.audit.record(stranger, Event("<i>strange</i>", outcome="<b>odd</b>")))
    with _seal(console, HOSTILE):
        text = look.answer().text
    assert "&lt;script&gt;alert(" in text
    for raw in ("<script", "<img", "<i>", "<b>"):
        assert raw not in text


def test_a_seal_is_the_first_thing_on_the_page(console: Service, look: Look) -> None:
    with _seal(console, "a drill"):
        text = look.text()
    assert re.search(r"1 thing to act on ■ Sealed since \d\d:\d\d:\d\d by caller-\d+: a drill\.", text)
    assert "Releases sealed" in text
    assert "Sealed since" not in look.text()


def test_broken_and_draining_keys_stand_out(console: Service, look: Look) -> None:
    wallets = console.call("GET", "/kms/pool").json()["keys"]
    held = max(wallets, key=lambda key: key["wallets"])
    disabled, draining = held["alias"], next(k["alias"] for k in wallets if k is not held)
    console.kms.key(disabled).state = "Disabled"
    path = f"/kms/pool/keys/{draining.removeprefix('alias/')}"
    console.call("PUT", path, json={"mode": "draining"})
    complete(console.services.pool.refresh())
    try:
        text = look.text()
        name = disabled.removeprefix("alias/")
        count = held["wallets"]
        one = count == 1
        noun, verb = ("wallet", "is") if one else ("wallets", "are")
        share = f"{count} {noun} ({held['shareOfWallets']:.0%}) {verb}"
        assert f"{name}: Disabled. {share} under it. Runbook: Key disabled" in text
        assert f"{name} ■ disabled" in text
        assert f"{draining.removeprefix('alias/')} ▲ draining" in text
        assert "8 of 10 keys take them" in text
    finally:
        console.kms.key(disabled).state = "Enabled"
        console.call("PUT", path, json={"mode": "active"})
        complete(console.services.pool.refresh())


def test_every_runbook_that_the_page_names_is_there() -> None:
    source = ast.parse(Path(attention.__file__).read_text())
    texts = [node.value for node in ast.walk(source) if isinstance(node, ast.Constant)]
    named = [text for text in texts if isinstance(text, str) and text.startswith("Runbook: ")]
    index = (Path(__file__).parents[2] / "deploy/runbooks/README.md").read_text().lower()
    assert len(named) >= 8
    for text in named:
        for page in re.split(", or ", text.removeprefix("Runbook: ").partition(" · ")[0]):
            assert f"[{page.lower()}](" in index, text


def test_a_rotation_shows_its_progress(console: Service, look: Look) -> None:
    assert "None yet." in look.text()
    request = RewrapRequest(["Empressa-wallet-key-1"], None, None, dry_run=False, rate_per_second=10.0)
    job = complete(console.services.rewrap_jobs.start(TESTER, request))
    with enter(console.owner.connection()) as connection:
        complete(
            connection.exec_driver_sql(
                "UPDATE rotations SET status = 'running', started_at = now(), total = 1000, done = 240,"
                " failed = 10, sampled_at = now() + interval '5 s', sampled_rate = 5, sampled_processed = 250"
            )
        )
    try:
        text = look.text()
        assert "running 250 of 1000 250 of 1,000 wallets, 25.0% · 5.0/s · 2 min 30 s left" in text
        assert "10 failed · from Empressa-wallet-key-1" in text
        assert "The rotation could not move 10 wallets." in text
    finally:
        complete(console.services.rewrap_jobs.cancel(TESTER, job.rotation_id))
    assert re.search(r"cancelled 240 wallets moved, ended \d s ago", look.text())


def test_kms_that_does_not_describe_a_key_is_reported(console: Service, look: Look) -> None:
    with console.kms.on("DescribeKey").answer(Reset()):
        complete(console.services.pool.refresh())
        text = look.text()
    assert re.search(
        r"KMS has not reported the state of 10 of 10 keys since \d\d:\d\d:\d\d; shown is what it reported",
        text,
    )
    assert "Empressa-wallet-key-1 ● active" in text
    complete(console.services.pool.refresh())
    assert "KMS has not reported" not in look.text()


def test_a_single_part_that_cannot_be_read_is_reported(console: Service, look: Look) -> None:
    look.text()
    with enter(console.owner.connection()) as connection:
        complete(connection.exec_driver_sql("REVOKE SELECT ON audit_events FROM kms_serve"))
        try:
            text = look.text()
        finally:
            complete(connection.exec_driver_sql("GRANT SELECT ON audit_events TO kms_serve"))
    assert re.search(r"The audit log has been unreadable since \d\d:\d\d:\d\d\.", text)
    assert re.search(r"Audit log as of \d\d:\d\d:\d\d", text)
    assert "Releases open" in text
    assert "cannot be read" not in look.text()


def test_a_token_that_cannot_be_looked_up_stays_good_for_a_while(console: Service, look: Look) -> None:
    look.text()
    stranger = make_token(console.services, Scope.POOL_READ)
    with enter(console.owner.connection()) as connection:
        complete(connection.exec_driver_sql("REVOKE SELECT ON tokens FROM kms_serve"))
        try:
            console.clock.pass_by(REMEMBERED_SECONDS)
            text = look.text()
            assert console.call("GET", "/console", token=stranger).status_code == 503
        finally:
            complete(connection.exec_driver_sql("GRANT SELECT ON tokens TO kms_serve"))
    assert "Your token could not be checked just now." in text
    assert "could not be looked up" not in look.text()


@contextmanager
def _database_away(console: Service, server: PostgresServer) -> Iterator[None]:
    name = console.services.settings.database_url.get_secret_value().rpartition("/")[2].partition("?")[0]
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_without_the_database_a_signed_in_visitor_still_sees_the_page(
    console: Service, look: Look, postgres_server: PostgresServer
) -> None:
    stranger = make_token(console.services, Scope.POOL_READ)
    readiness = console.services.readiness
    look.text()
    with _database_away(console, postgres_server):
        complete(readiness.probe())
        text = look.text()
        answer = console.call("GET", "/console", token=stranger)
    complete(readiness.probe())
    assert re.search(r"■ The database has not answered since \d\d:\d\d:\d\d: nothing is created", text)
    assert "Your token could not be checked just now." in text
    assert re.search(r"Key pool wallets and last uses as of \d\d:\d\d:\d\d", text)
    assert re.search(r"Releases open as of \d\d:\d\d:\d\d", text)
    assert "Empressa-wallet-key-1 ● active" in text
    assert (answer.status_code, answer.headers["refresh"]) == (503, "15")
    assert "unreachable" in answer.text
    assert "Empressa" not in answer.text
    assert "has not answered" not in look.text()
