"""Several workers behind their supervisor: connections are spread evenly, and none is lost with a worker."""

import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kms_endpoint import Delay, KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.cli.process.doors import BEAT_SECONDS
from kms_service.cli.process.supervision.worker_handle import FRESH_SECONDS
from kms_service.loopback import free_port
from raw_http import PROBE, ask, connect, read_answers, statuses
from server_process import START_SECONDS, ServerProcess, environment, make_token, run, serve
from waiting import pause, wait_until
from wiring import FreshDatabase

DEADLINE_SECONDS = 4
WORKER = "kms_service.cli.process.worker"
METRICS = "kms_service.telemetry.exposition"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[KmsEndpoint]:
    with KmsEndpoint() as endpoint:
        endpoint.add_pool("Empressa-wallet-key", 10)
        yield endpoint


@pytest.fixture(scope="module")
def env(fresh_database: FreshDatabase, endpoint: KmsEndpoint) -> Iterator[dict[str, str]]:
    with fresh_database() as url:
        yield environment(
            url,
            endpoint,
            HOST="::",
            WORKERS=2,
            METRICS_PORT=0,
            REQUEST_DEADLINE_SECONDS=DEADLINE_SECONDS,
            SHUTDOWN_DELAY_SECONDS=1,
        )


@pytest.fixture(scope="module")
def token(env: dict[str, str]) -> str:
    return make_token(env, "tester", *Scope)


@pytest.fixture(scope="module")
def server(env: dict[str, str], token: str) -> Iterator[ServerProcess]:
    del token  # there before the server
    with serve_to_a_clean_end(env) as server:
        settle(server)
        yield server


@pytest.fixture(scope="module")
def lone(env: dict[str, str]) -> Iterator[ServerProcess]:
    """One process that serves by itself, the metrics too."""
    with serve_to_a_clean_end({**env, "WORKERS": "1"}) as server:
        yield server


@pytest.fixture(params=["lone", "server"])
def either(request: pytest.FixtureRequest) -> ServerProcess:
    found: ServerProcess = request.getfixturevalue(request.param)
    return found


@contextmanager
def serve_to_a_clean_end(env: dict[str, str]) -> Iterator[ServerProcess]:
    """A server that is asked over IPv4, and that must end well whatever was done to it."""
    with serve(env) as server:
        server.url = f"http://127.0.0.1:{port_of(server)}"
        yield server
        assert server.stop() == 0
        assert server.err == []
        assert "Traceback" not in server.printed


def port_of(server: ServerProcess) -> int:
    """The port it serves on."""
    return int(server.url.rpartition(":")[2])


def below(server: ServerProcess, module: str) -> list[psutil.Process]:
    """The supervisor's living children that run this module; any may be gone when it is asked something."""
    found = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if module in child.cmdline():  # which is empty once it is dead
                found.append(child)
    return found


def workers(server: ServerProcess) -> list[psutil.Process]:
    """Those that serve by now."""
    serving = " ".join(line for line in list(server.out) if "Started server" in line)
    return [worker for worker in below(server, WORKER) if f"[{worker.pid}]" in serving]


def both_serve(server: ServerProcess) -> bool:
    """Whether nobody is starting or ending."""
    begun, complete = (
        sum(event in line for line in list(server.out))
        for event in ("Started server process", "Application startup complete.")
    )
    return begun == complete and len(workers(server)) == 2


def settle(server: ServerProcess) -> None:
    """Wait until both serve."""
    try:
        wait_until(lambda: both_serve(server), START_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{below(server, WORKER)} of:\n{server.printed}") from None


def connections(worker: psutil.Process) -> list[Any]:
    """Its connections; none once it is gone."""
    try:
        return worker.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []


def of_worker(worker: psutil.Process, callers: list[socket.socket]) -> int:
    """How many of these callers it serves."""
    ports = {caller.getsockname()[1] for caller in callers}
    return sum(bool(each.raddr) and each.raddr.port in ports for each in connections(worker))


@dataclass
class Load:
    """Callers one request after another, on connections that they keep.

    Attributes:
        answers: how many were 200.
        failures: connections that ended amid a request, by local port.
        others: what else was answered.
    """

    url: str
    answers: int = 0
    failures: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    connections: dict[int, socket.socket] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def call(self, number: int) -> None:
        while not self.ended.is_set():
            with connect(self.url) as connection:
                self.connections[number] = connection
                while not self.ended.is_set() and self._one(connection):
                    self.ended.wait(0.1)  # some hundred requests a second of all: no more is needed

    def _one(self, connection: socket.socket) -> bool:
        """Whether the connection goes on."""
        port = connection.getsockname()[1]
        try:
            connection.sendall(PROBE)
        except ConnectionError:
            self.failures.append(port)
            return False
        answer = read_answers(connection)
        if statuses(answer) == [200]:
            self.answers += 1
        elif statuses(answer):
            self.others += statuses(answer)
        else:
            self.failures.append(port)
        return statuses(answer) != [] and b"connection: close" not in answer.lower()


@contextmanager
def load(server: ServerProcess, callers: int = 16) -> Iterator[Load]:
    """Callers at work, each of whom has had an answer."""
    settle(server)
    running = Load(server.url)
    threads = [threading.Thread(target=running.call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: running.answers > 4 * callers)
        yield running
        seen = running.answers
        wait_until(lambda: running.answers > seen + 4 * callers)
    finally:
        running.ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("count", [4, 32])
def test_connections_are_spread_evenly(server: ServerProcess, count: int) -> None:
    port = port_of(server)

    def idle() -> bool:
        each_has = (each for worker in workers(server) for each in connections(worker))
        return not any(each.laddr.port == port and each.raddr for each in each_has)

    wait_until(idle)
    pause(2 * BEAT_SECONDS)  # by then each worker has told the supervisor, which says so nowhere
    with ExitStack() as stack:
        callers = [stack.enter_context(connect(server.url)) for _ in range(count)]
        for caller in callers:
            caller.sendall(PROBE)
            assert statuses(read_answers(caller)) == [200]
        shares = [of_worker(worker, callers) for worker in workers(server)]
        assert sorted(shares) == [count // 2, count // 2]


def test_a_killed_worker_takes_with_it_only_what_it_was_serving(server: ServerProcess) -> None:
    with load(server) as running:
        victim = workers(server)[0]
        served = 0

        def serves_some() -> bool:
            nonlocal served
            served = of_worker(victim, list(running.connections.values()))
            return served > 0

        wait_until(serves_some)
        victim.kill()
        server.wait_for("worker_died")
        settle(server)
    assert 0 < served < 16
    assert len(running.failures) <= served
    assert len(set(running.failures)) == len(running.failures), "nobody fails twice"
    assert running.others == []


def test_new_callers_notice_nothing_of_a_killed_worker(server: ServerProcess) -> None:
    """Not even those whose connection was on its way to it."""
    supervisor = psutil.Process(server.process.pid)
    victim, other = workers(server)

    def accepted(callers: list[socket.socket]) -> bool:
        """Whether each caller is with the other worker, or kept for the one that does not take it."""
        held = {each.raddr.port for of in (other, supervisor) for each in connections(of) if each.raddr}
        return held >= {caller.getsockname()[1] for caller in callers}

    victim.send_signal(signal.SIGSTOP)
    with ExitStack() as stack:
        callers = [stack.enter_context(connect(server.url)) for _ in range(12)]
        for caller in callers:
            caller.sendall(PROBE)
        wait_until(lambda: accepted(callers))
        victim.kill()
        assert all(statuses(read_answers(caller)) == [200] for caller in callers)
    settle(server)


def test_workers_are_replaced_one_by_one_without_a_failure(server: ServerProcess) -> None:
    before = workers(server)
    with load(server) as running:
        server.process.send_signal(signal.SIGHUP)
        assert psutil.wait_procs(before, START_SECONDS)[1] == []
        settle(server)
    assert (running.failures, running.others) == ([], [])


def test_a_worker_that_dies_while_its_replacement_starts_is_replaced_once(server: ServerProcess) -> None:
    settle(server)
    before = {worker.pid for worker in workers(server)}
    started = len(server.wait_for("worker_started"))

    def last() -> list[psutil.Process]:
        """The last of the old workers, once its replacement is there."""
        found = below(server, WORKER)
        old = [worker for worker in found if worker.pid in before]
        return old if len(old) == 1 and len(found) == 3 else []

    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: bool(last()), START_SECONDS)
    last()[0].kill()
    wait_until(lambda: not before & {each.pid for each in below(server, WORKER)}, START_SECONDS)
    settle(server)
    assert len(server.wait_for("worker_started")) == started + 2


def test_a_worker_that_is_told_to_stop_is_replaced_without_a_failure(server: ServerProcess) -> None:
    victim = workers(server)[0]
    with load(server) as running:
        victim.terminate()
        wait_until(lambda: not victim.is_running())
        settle(server)
    assert (running.failures, running.others) == ([], [])


def test_a_worker_whose_loop_is_stuck_is_ended_while_the_other_serves(server: ServerProcess) -> None:
    victim = workers(server)[0]
    victim.send_signal(signal.SIGSTOP)
    pause(FRESH_SECONDS + BEAT_SECONDS)  # beats are missed by now: new connections go past it

    def has_ended() -> bool:
        pause(0.1)  # it is asked some dozen times, no more is needed
        assert statuses(ask(server.url, PROBE)) == [200]
        return victim not in below(server, WORKER)

    wait_until(has_ended)
    assert any(line["late"] == "loop" for line in server.wait_for("worker_late"))
    settle(server)


def test_the_metrics_come_back_when_their_process_dies(server: ServerProcess) -> None:
    settle(server)
    port = server.wait_for("metrics_served")[0]["port"]
    (beside,) = below(server, METRICS)
    beside.kill()
    assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).status_code == 200
    assert beside not in below(server, METRICS)


def test_workers_end_with_a_supervisor_that_is_killed(env: dict[str, str]) -> None:
    with serve({**env, "PORT": str(free_port())}) as server:
        settle(server)
        children = [*below(server, WORKER), *below(server, METRICS)]
        assert len(children) == 3
        os.kill(server.process.pid, signal.SIGKILL)
        _gone, alive = psutil.wait_procs(children, timeout=60)
        assert alive == []


def test_both_ports_listen_on_ipv4_and_ipv6(either: ServerProcess) -> None:
    metrics = either.wait_for("metrics_served")[0]["port"]
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{port_of(either)}/livez", timeout=30).status_code == 200
        assert httpx.get(f"http://{host}:{metrics}/metrics", timeout=30).status_code == 200


@pytest.mark.parametrize(("variable", "count"), [("PORT", 1), ("PORT", 2), ("METRICS_PORT", 2)])
def test_a_port_that_is_taken_is_reported_in_one_line(env: dict[str, str], variable: str, count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changes = {"HOST": "127.0.0.1", "WORKERS": str(count)}
        done = run("serve", env={**env, **changes, variable: str(taken.getsockname()[1])})
    assert done.returncode == 78
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"  {variable}: ")]
    assert line.endswith("cannot be listened on: Address already in use")


def test_four_hundred_callers_at_once_are_all_answered(
    server: ServerProcess, endpoint: KmsEndpoint, token: str
) -> None:
    """Perhaps some with `overloaded`, but none with a reset."""
    settle(server)
    with server.client(token) as client:
        assert client.put("/wallets/many").status_code in {200, 201}
    request = f"GET /wallets/many/private-key HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"

    def call(_: int) -> list[int]:
        with connect(server.url, 60) as connection:
            answers = b""
            for _ in range(2):
                connection.sendall(request.encode())
                answers += read_answers(connection)
        return statuses(answers)

    with endpoint.on("Decrypt").answer(Delay(0.1)), ThreadPoolExecutor(400) as callers:
        answered_with = [status for each in callers.map(call, range(400)) for status in each]
    assert len(answered_with) == 800
    assert set(answered_with) <= {200, 503}


@contextmanager
def few_files(processes: list[psutil.Process]) -> Iterator[None]:
    """In this block, each of these may open only five more files than it has open at its beginning."""
    before = [(each.pid, resource.prlimit(each.pid, resource.RLIMIT_NOFILE)) for each in processes]
    for pid, (_, hard) in before:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (sixth_free_number(pid), hard))
    try:
        yield
    finally:
        for pid, limits in before:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def sixth_free_number(pid: int) -> int:
    """The number that a sixth file would get: the limit bounds numbers, and the lowest free one is used."""
    taken = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    return next(islice((number for number in count() if number not in taken), 5, None))


@pytest.mark.skipif(sys.platform != "linux", reason="of another process: Linux alone")
def test_a_process_that_may_open_no_more_files_goes_on_when_it_may(either: ServerProcess) -> None:
    main = psutil.Process(either.process.pid)
    processes = [main, *main.children()]
    with few_files(processes), ExitStack() as stack:
        callers = [stack.enter_context(connect(either.url)) for _ in range(20)]
        for caller in callers:
            caller.sendall(PROBE)
        pause(0.5)  # the callers that find a place have it
        spent = sum(process.cpu_times().user for process in processes)
        pause(1.5)  # long enough to tell one that tries without a pause from one that rests
        assert sum(process.cpu_times().user for process in processes) - spent < 1
        # Answered, or ended by a worker that got no file for it.
        told, _, _ = select.select(callers, [], [], 0)
        answered = sum(statuses(read_answers(caller)) == [200] for caller in told)
        assert answered < len(callers), "files were enough"
        for caller in callers:
            caller.close()
        wait_until(lambda: statuses(ask(either.url, PROBE)) == [200])
