"""The load: a closed loop on kept-alive connections, in a process of its own.

    python -m benchmarks.driver '{"scenario": "create", …}'

prints `begin` when the warm-up is over, then a JSON line for each window. A connection sends its next request
as soon as the last is answered. It reads HTTP with the parser that uvicorn uses and does little else, so that
on a small machine the service is measured, and not its client.
"""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, cast

import httptools
import uvloop

from benchmarks.scenarios import SCENARIOS, Call, Scenario, Target

_FEWEST = 2  # that have percentiles


@dataclass(frozen=True, slots=True)
class Load:
    """What to drive: `windows` windows of `seconds`, after `warm_up` seconds that do not count."""

    scenario: str
    target: Target
    connections: int
    seconds: float
    warm_up: float = 0.5
    windows: int = 1

    def to_json(self) -> str:
        """The argument of the driver's process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Load":
        """Read such an argument."""
        fields = json.loads(text)
        return cls(**{**fields, "target": Target(**fields["target"])})


@dataclass(slots=True)
class Window:
    """The answers of one window."""

    latencies: list[float] = field(default_factory=list)
    unexpected: Counter[str] = field(default_factory=Counter)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Requests, the rate, percentiles in milliseconds, and unexpected answers."""
        requests = len(self.latencies)
        return {
            "requests": requests,
            "per_second": round(requests / seconds, 1),
            **_percentiles(self.latencies),
            "unexpected": dict(self.unexpected),
        }


class Connection(asyncio.Protocol):
    """One caller: asks, waits, asks again."""

    def __init__(self, calls: Scenario, windows: list[Window]) -> None:
        self._calls = calls
        self._windows = windows
        self._parser = httptools.HttpResponseParser(self)
        self._call: Call
        self._sent = 0.0
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note a whole answer, and ask again."""
        window = self._windows[-1]
        window.latencies.append(time.perf_counter() - self._sent)
        status = self._parser.get_status_code()
        if status != self._call.status:
            window.unexpected[str(status)] += 1
        if not self._transport.is_closing():
            self._ask()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note a connection that the service closed, which it must not do under load."""
        if not self.closing:
            self._windows[-1].unexpected["connection lost"] += 1

    def close(self) -> None:
        """Ask no more."""
        self.closing = True
        self._transport.close()

    def _ask(self) -> None:
        self._call = next(self._calls)
        self._sent = time.perf_counter()
        self._transport.write(self._call.request)


async def drive(load: Load) -> None:
    """Run the load; print a line at the start and one for each window."""
    host, _, port = load.target.host.partition(":")
    calls = SCENARIOS[load.scenario](load.target)
    windows = [Window()]
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(partial(Connection, calls, windows), host, int(port))
        for _ in range(load.connections)
    ]
    await asyncio.sleep(load.warm_up)
    _begin(windows, "begin")
    started = time.perf_counter()
    for number in range(load.windows):
        before = time.perf_counter()
        await asyncio.sleep(started + (number + 1) * load.seconds - before)
        window = windows[-1]
        _begin(windows, json.dumps(window.summary(time.perf_counter() - before)))
    for _, connection in pairs:
        connection.close()


def _begin(windows: list[Window], said: str) -> None:
    print(said, flush=True)
    windows[:] = [Window()]


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if len(seconds) < _FEWEST:
        return {}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    names = {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(seconds)}
    return {name: round(1000 * value, 3) for name, value in names.items()}


def main() -> None:
    """Drive what the argument says."""
    uvloop.run(drive(Load.from_json(sys.argv[1])))


if __name__ == "__main__":
    main()
