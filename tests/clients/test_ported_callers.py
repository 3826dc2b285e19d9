"""The callers of the ported service keep working, from real Node, with only a header added."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from calling import Service, serving
from chain import npm_packages, run
from kms_endpoint import KmsEndpoint
from wiring import FreshDatabase, settings_for

SCRIPT = Path(__file__).parent / "ported_callers.mjs"
VERIFIER = "platform-verifier"
pytestmark = pytest.mark.clients


@pytest.fixture
def platform(fresh_database: FreshDatabase) -> Iterator[Service]:
    """A service that knows the platform's wallet."""
    with fresh_database() as url, KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        with serving(settings_for(url, endpoint, platform_verifier_user_id=VERIFIER), endpoint) as service:
            yield service


def test_sign_up_and_job_worker_keep_working(platform: Service, tmp_path: Path) -> None:
    packages = npm_packages()
    verifier = platform.create(VERIFIER).json()
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / SCRIPT.name).write_text(SCRIPT.read_text())  # beside node_modules, where node looks
    setting = {
        "KMS_SERVICE_URL": str(platform.client.base_url),
        "KMS_SERVICE_TOKEN": platform.token,
        "VERIFIER_ADDRESS": verifier["walletAddress"],
    }
    told = json.loads(run("node", SCRIPT.name, folder=tmp_path, env=setting).splitlines()[-1])
    wallet = platform.call("GET", f"/wallets/{told['userId']}").json()
    assert wallet["walletAddress"] == told["walletAddress"]
    events = platform.call("GET", "/audit/events", params={"userId": told["userId"]}).json()["events"]
    assert [each["action"] for each in events] == ["private_key.read", "wallet.create"]
