"""What a scrape of the real server holds, with one worker and with several."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kms_endpoint import Error, KmsEndpoint
from kms_service.telemetry.exposition import FOLDER_VARIABLE
from kms_service.telemetry.recent import Counts, History
from server_process import ServerProcess, environment, make_token, serve
from wiring import FreshDatabase

SCOPES = ("wallets:create", "wallets:read", "private-keys:read")


def scrape(url: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name -> labels -> value."""
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(httpx.get(url, timeout=60).text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def total(samples: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for key, value in samples.get(name, {}).items() if wanted <= set(key))


def use(server: ServerProcess, token: str, users: range) -> None:
    """A wallet and its private key for each user, eight at a time; all of it counted and logged."""
    before = len(server.events("request"))

    with server.client(token) as client:

        def one(user: int) -> None:
            made = client.post("/wallets", json={"userId": f"user{user}"})
            read = client.get(f"/wallets/user{user}/private-key")
            assert (made.status_code, read.status_code) == (201, 200)

        with ThreadPoolExecutor(8) as executor:
            list(executor.map(one, users))
    # A request is counted when its answer is out already, and logged after that.
    server.wait_for("request", before + 2 * len(users))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[KmsEndpoint]:
    with KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        yield endpoint


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="module")
def token(database: str, endpoint: KmsEndpoint) -> str:
    return make_token(environment(database, endpoint), "tester", *SCOPES)


@pytest.fixture(scope="module")
def single(database: str, endpoint: KmsEndpoint, token: str) -> Iterator[ServerProcess]:
    with serve(environment(database, endpoint)) as server:
        use(server, token, range(10))
        yield server


def test_everything_done_is_counted(single: ServerProcess) -> None:
    samples = scrape(f"{single.url}/metrics")
    route = "/wallets/{userId}/private-key"
    assert total(samples, "kms_service_http_requests_total", route=route, method="GET", status="200") == 10
    assert total(samples, "kms_service_http_request_duration_seconds_count", route=route) == 10
    assert total(samples, "kms_service_wallet_opens_total", outcome="ok") == 10
    assert total(samples, "kms_service_secrets_released_total", kind="private_key", actor="tester") == 10
    assert total(samples, "kms_service_audit_rows_total", action="wallet.create", outcome="ok") == 10
    assert (
        total(samples, "kms_service_kms_requests_total", operation="Decrypt", outcome="ok") == 11
    )  # the row key's
    assert total(samples, "kms_service_kms_billable_requests_total", operation="DescribeKey") == 10
    assert total(samples, "kms_service_pool_keys", status="Active") == 10
    assert total(samples, "kms_service_database_statement_duration_seconds_count") >= 30
    assert total(samples, "kms_service_build_info") == 1
    assert time.time() - 3600 < total(samples, "kms_service_start_time_seconds") < time.time()


def test_every_key_is_labelled_by_its_alias(single: ServerProcess) -> None:
    keys = {
        dict(labels)["key"] for labels in scrape(f"{single.url}/metrics")["kms_service_kms_requests_total"]
    }
    assert keys <= {f"alias/Empressa-wallet-key-{n}" for n in range(1, 11)}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("AccessDeniedException", "access_denied"), ("DisabledException", "kms_key_unusable")],
)
def test_a_denial_is_distinguished_from_a_broken_key(
    single: ServerProcess, endpoint: KmsEndpoint, token: str, fault: str, outcome: str
) -> None:
    def count_failed() -> float:
        samples = scrape(f"{single.url}/metrics")
        return total(samples, "kms_service_kms_requests_total", operation="Decrypt", outcome=outcome)

    before = count_failed()
    endpoint.on("Decrypt").answer(Error(fault))
    try:
        with single.client(token) as client:
            assert client.get("/wallets/user1/private-key").json()["code"] == "kms_key_unusable"
    finally:
        endpoint.clear()
    assert count_failed() == before + 1


def test_labels_hold_no_user_address_token_or_arn(single: ServerProcess, token: str) -> None:
    text = httpx.get(f"{single.url}/metrics").text
    assert not re.search(r"user\d|0x[0-9a-fA-F]{40}|arn:aws", text)
    assert token not in text


def test_made_up_methods_and_routes_make_no_labels_of_their_own(single: ServerProcess) -> None:
    for number in range(5):
        httpx.request("PROPFIND", f"{single.url}/made-up-{number}")
    series = scrape(f"{single.url}/metrics")["kms_service_http_requests_total"]
    strange = [dict(labels) for labels in series if dict(labels)["method"] == "other"]
    assert strange == [{"method": "other", "route": "unmatched", "status": "404"}]


def test_a_scraper_that_accepts_openmetrics_gets_it(single: ServerProcess) -> None:
    answer = httpx.get(f"{single.url}/metrics", headers={"accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


Several = tuple[ServerProcess, str, str, Path]
"""A server, its token, where to scrape it, and its TMPDIR."""


@pytest.fixture(scope="module")
def several(
    fresh_database: FreshDatabase, endpoint: KmsEndpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Several]:
    """Two workers with the metrics on a port of their own."""
    folder = tmp_path_factory.mktemp("tmpdir")
    with fresh_database() as url:
        env = environment(url, endpoint, WORKERS=2, METRICS_PORT=0, TMPDIR=folder)
        token = make_token(env, "tester", *SCOPES)
        with serve(env) as server:
            port = server.wait_for("metrics_served")[0]["port"]
            server.wait_for("Application startup complete.", 2)
            yield server, token, f"http://127.0.0.1:{port}/metrics", folder
        assert list(folder.iterdir()) == [], "the shared folder is left behind"


def test_a_scrape_adds_all_workers_up(several: Several) -> None:
    server, token, metrics, _ = several
    use(server, token, range(40))
    samples = scrape(metrics)
    assert total(samples, "kms_service_http_requests_total", status="201") == 40
    assert total(samples, "kms_service_wallet_opens_total") == 40
    assert total(samples, "kms_service_pool_keys", status="Active") == 10
    assert total(samples, "kms_service_build_info") == 1


def test_rates_of_the_last_minutes_add_all_workers_up_too(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the operator page shows them, whichever worker serves it."""
    server, token, _, folder = several
    (shared,) = folder.glob("kms-service-metrics-*")
    monkeypatch.setenv(FOLDER_VARIABLE, str(shared))
    clock = iter((0.0, 10.0))
    history = History(lambda: next(clock))
    history.sample()
    use(server, token, range(100, 140))
    history.sample()
    recent = history.recent()
    assert recent is not None
    assert (recent.requests, recent.seconds) == (Counts(80, 0), 10)
    assert (recent.kms_calls.all, recent.open_circuits) == (80, frozenset())


def pids(samples: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str) -> dict[int, float]:
    """The value of each process."""
    return {int(dict(labels)["pid"]): value for labels, value in samples[name].items()}


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_each_process_reports_its_time_memory_and_files(several: Several) -> None:
    server, _, metrics, _ = several
    samples = scrape(metrics)
    memory = pids(samples, "process_resident_memory_bytes")
    assert len(memory) == 4, "two workers, what answers this scrape, and the supervisor"
    # What measures coverage takes its share of every process.
    measuring = 8 * 2**20 if "COVERAGE_PROCESS_CONFIG" in os.environ else 0
    assert memory[server.process.pid] == min(memory.values()) < 25 * 2**20 + measuring
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    of_the_service = ("pydantic_core", "sqlalchemy", "psycopg", "uvloop", "_cffi_backend")
    assert not [name for name in of_the_service if name in loaded], "it imports nothing of the service"
    assert sorted(memory.values())[2] > 50 * 2**20, "a worker is no smaller than what it imports"
    for name in ("process_cpu_seconds_total", "process_open_fds", "process_max_fds"):
        assert pids(samples, name).keys() == memory.keys()
        assert min(pids(samples, name).values()) > 0
    started = pids(samples, "process_start_time_seconds")
    assert all(time.time() - 600 < at < time.time() + 5 for at in started.values())


def test_every_family_of_a_scrape_is_in_the_table(single: ServerProcess, several: Several) -> None:
    table = (Path(__file__).parents[2] / "deploy/monitoring/metrics.md").read_text()
    listed = {name.removesuffix("_total") for name in re.findall(r"`([a-z_]+)`", table)}
    for url in (f"{single.url}/metrics", several[2]):
        families = {family.name for family in text_string_to_metric_families(httpx.get(url).text)}
        assert len(families) > 20
        assert families <= listed


def test_the_metrics_are_not_on_the_serving_port_too(several: Several) -> None:
    assert httpx.get(f"{several[0].url}/metrics").status_code == 404


def test_counts_outlive_a_worker_and_its_live_gauges_do_not(
    several: Several,
) -> None:
    server, token, metrics, folder = several
    use(server, token, range(200, 204))
    before = scrape(metrics)
    (shared,) = folder.glob("kms-service-metrics-*")
    victim = next(int(file.stem.split("_")[-1]) for file in shared.glob("gauge_livesum_*.db"))
    os.kill(victim, signal.SIGKILL)
    server.wait_for("Application startup complete.", 3)
    after = scrape(metrics)
    for name in ("kms_service_wallet_opens_total", "kms_service_audit_rows_total"):
        assert total(after, name) >= total(before, name) > 0
    assert list(shared.glob(f"gauge_live*_{victim}.db")) == []
    assert victim not in pids(after, "process_open_fds")
    assert total(after, "kms_service_requests_in_flight") == 0


def test_a_scrape_answers_while_the_workers_hang(several: Several) -> None:
    server, _, metrics, folder = several
    (shared,) = folder.glob("kms-service-metrics-*")
    workers = {int(file.stem.split("_")[-1]) for file in shared.glob("gauge_livesum_*.db")}
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert total(scrape(metrics), "kms_service_build_info") == 1
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.url}/livez", timeout=0.5)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
