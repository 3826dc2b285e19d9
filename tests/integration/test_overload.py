"""A process under stress: bounded work, probes that answer, an orderly stop, a database that comes back."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import psycopg
import pytest

from kms_endpoint import Delay, Hang, KmsEndpoint
from served import Served, served
from wiring import FreshDatabase

PROBES = ("/livez", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def database_of_module(fresh_database: FreshDatabase) -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="module")
def endpoint_of_module() -> Iterator[KmsEndpoint]:
    with KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        yield endpoint


@pytest.fixture(scope="module")
def service(database_of_module: str, endpoint_of_module: KmsEndpoint) -> Iterator[Served]:
    with served(database_of_module, endpoint_of_module, max_in_flight=12, worker_threads=4) as service:
        yield service


def _answers(service: Served, paths: list[str]) -> list[str]:
    """Statuses and codes of GETs all sent at once, in the order in which they were answered."""
    answered: list[str] = []
    with service.client() as client, ThreadPoolExecutor(len(paths)) as threads:

        def get(path: str) -> None:
            answer = client.get(path)
            answered.append(f"{answer.status_code} {answer.json().get('code', '')}".strip())
            assert answer.status_code != 503 or int(answer.headers["Retry-After"]) > 0

        list(threads.map(get, paths))
    return answered


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.05)


def test_excess_is_refused_at_once_and_probes_answer_while_all_threads_hang(
    service: Served, endpoint_of_module: KmsEndpoint
) -> None:
    with service.client() as client:
        for number in range(20):
            client.put(f"/wallets/hanging-{number}")
    with endpoint_of_module.on("Decrypt").answer(Hang()), ThreadPoolExecutor(1) as beside:
        reads = beside.submit(_answers, service, [f"/wallets/hanging-{n}/private-key" for n in range(20)])
        endpoint_of_module.wait_for(4, "Decrypt")
        slowest = max(_probe_seconds(service) for _ in range(10))
        answers = reads.result()
    assert answers[:8] == ["503 overloaded"] * 8, "refusals wait for nothing"
    assert all(answer.startswith("503") for answer in answers)
    assert slowest < 1, "milliseconds on an idle machine; the hang lasts for seconds"
    _until(lambda: _answers(service, ["/wallets/hanging-0/private-key"]) == ["200"], 15)


def _probe_seconds(service: Served) -> float:
    slowest = 0.0
    for path in PROBES:
        started = time.monotonic()
        assert httpx.get(service.url + path).status_code == 200
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def test_the_database_may_go_and_come_back(service: Served, database_of_module: str) -> None:
    with service.client() as client:
        client.put("/wallets/steady")
        name = database_of_module.rpartition("/")[2].partition("?")[0]
        admin = psycopg.connect(database_of_module.replace(f"/{name}", "/postgres"), autocommit=True)
        with admin:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            answer = client.get("/wallets/steady")
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            _until(lambda: client.get("/readyz").status_code == 503, 5)
            assert client.get("/readyz").json()["checks"]["database"] == "unreachable"
            assert client.get("/livez").status_code == 200
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        _until(lambda: client.get("/readyz").status_code == 200, 5)
        assert client.get("/wallets/steady").status_code == 200
        assert client.put("/wallets/after").status_code == 201


def test_connections_cut_by_the_server_cost_no_more_than_one_answer_each(
    service: Served, database_of_module: str
) -> None:
    with service.client() as client, psycopg.connect(database_of_module, autocommit=True) as admin:
        client.put("/wallets/steady")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        answers = [client.get("/wallets/steady").status_code for _ in range(20)]
    assert answers.count(200) >= 19
    assert set(answers) <= {200, 503}


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_tells_not_ready_finishes_what_is_under_way_and_exits_0(
    database_url: str, kms_endpoint: KmsEndpoint, workers: int
) -> None:
    with (
        served(database_url, kms_endpoint, workers=workers, shutdown_delay_seconds=2) as service,
        kms_endpoint.on("Encrypt").answer(Delay(1.5)),
        service.client() as client,
        ThreadPoolExecutor(2) as beside,
    ):
        # Two calls under KMS, the audit chain's and the wallet's: longer than the delay.
        create = beside.submit(client.put, "/wallets/last")
        kms_endpoint.wait_for(1, "Encrypt")
        stopped: Future[int] = beside.submit(service.terminate)
        ready = None
        while ready is None or ready.status_code == 200:
            ready = httpx.get(service.url + "/readyz")
        assert (ready.status_code, ready.json()["checks"]["process"]) == (503, "shutting down")
        assert create.result().status_code == 201
        assert stopped.result() == 0
