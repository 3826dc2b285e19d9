"""Steady traffic on a service during something else, and how long its requests took."""

import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

_FEWEST = 2  # that have percentiles

Connection = http.client.HTTPConnection


@dataclass
class Traffic:
    """Creations and private-key reads, each at its own rate, on two kept-alive connections."""

    url: str
    token: str
    users: Sequence[str]
    creations_a_second: float = 10.0
    reads_a_second: float = 10.0
    failures: list[str] = field(default_factory=list)
    created: int = 0
    _taken: dict[str, list[float]] = field(default_factory=lambda: {"create": [], "private key": []})
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Traffic for as long as the block runs."""
        threads = [
            threading.Thread(target=self._steadily, args=(self.creations_a_second, self._create)),
            threading.Thread(target=self._steadily, args=(self.reads_a_second, self._read)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def take(self) -> dict[str, dict[str, float]]:
        """Requests since the last call, with their p50 and p99 in milliseconds."""
        taken = {kind: seconds[:] for kind, seconds in self._taken.items()}
        for seconds in self._taken.values():
            seconds.clear()
        return {kind: _summary(seconds) for kind, seconds in taken.items()}

    def _steadily(self, rate: float, request: Callable[[Connection], None]) -> None:
        connection = Connection(urlsplit(self.url).netloc, timeout=30)
        due = time.monotonic()
        while not self._stop.is_set():
            due = max(due + 1 / rate, time.monotonic() - 1)
            request(connection)
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _create(self, connection: Connection) -> None:
        body = json.dumps({"userId": f"live-{random.getrandbits(64):016x}"})
        self.created += self._ask(connection, "create", "/wallets", body)

    def _read(self, connection: Connection) -> None:
        self._ask(connection, "private key", f"/wallets/{random.choice(self.users)}/private-key", None)

    def _ask(self, connection: Connection, kind: str, path: str, body: str | None) -> bool:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        started = time.perf_counter()
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            self.failures.append(f"{kind}: {type(error).__name__}")
            connection.close()
            return False
        self._taken[kind].append(time.perf_counter() - started)
        if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            self.failures.append(f"{kind}: {answer.status} {content[:200]!r}")
        return answer.status == HTTPStatus.CREATED


def _summary(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < _FEWEST:
        return {"requests": len(seconds)}
    hundredths = statistics.quantiles(seconds, n=100)
    return {
        "requests": len(seconds),
        "p50_ms": round(1000 * hundredths[49], 2),
        "p99_ms": round(1000 * hundredths[98], 2),
    }
