"""The page in a real browser against the real server: it signs in, loads nothing else, and fits a phone."""

from collections.abc import Iterator

import pytest

import chromium
from kms_endpoint import KmsEndpoint
from server_process import ServerProcess, environment, make_token, serve
from wiring import FreshDatabase

# Of the style sheet, whose hash the policy has to name.
BACK = {"light": "rgb(244, 246, 248)", "dark": "rgb(14, 19, 25)"}
# The form comes with 401, and this test reads document.cookie.
EXPECTED = ("401 (Unauthorized)", "DocumentCookie")

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def server(fresh_database: FreshDatabase) -> Iterator[tuple[ServerProcess, str]]:
    """A server with the page, and a token that can look at it."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        env = environment(url, endpoint, CONSOLE_ENABLED="true")
        token = make_token(env, "night-call", "pool:read")
        with serve(env) as server:
            yield server, token


def test_a_visitor_signs_in_looks_on_any_screen_and_signs_out(server: tuple[ServerProcess, str]) -> None:
    at, token = server
    with chromium.chromium() as tab:
        tab.go(f"{at.url}/console")
        tab.sign_in(token)
        assert tab.run("document.querySelectorAll('table.pool tbody tr').length") == 10
        assert tab.run("document.cookie") == "", "a script could read the cookie"
        tab.click("a[href='console?paused=1']")
        for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")):
            tab.look(width, 740, scheme, phone=width < 500)
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run("getComputedStyle(document.body).backgroundColor") == BACK[scheme]
        tab.click("form button")
        assert tab.run("document.querySelector('#token') !== null")
        assert [each for each in tab.complaints if not any(known in each for known in EXPECTED)] == []
        assert {address.split("?")[0] for address in tab.asked_for} <= {
            f"{at.url}/console",
            f"{at.url}/console/sign-out",
        }
