"""The same requests in other situations: a slow KMS, many callers, old rows, TLS, a cold process."""

import itertools
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.driver import Load
from benchmarks.filling import fill
from benchmarks.measuring import measure, target
from benchmarks.rig import KEYS, Installation, Rig, Service, rig, running
from benchmarks.scenarios import SCENARIOS
from benchmarks.tls import HTTP, POSTGRES, certify

REQUESTS = ("create", "private-key", "sign", "mixed")
COLD = ("create", "private-key", "sign")
WALLETS = 500
WORKERS = 2
WARM_UP_SECONDS = 1.0
_FEW, _MANY = 4, 32
_HEAD_ENDS = b"\r\n\r\n"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Situation:
    """What differs from the usual run, which has KMS at 5 ms, current rows and no TLS."""

    latency_ms: float = 5.0
    callers: int = _MANY
    envelope: int = 2
    tls: bool = False


def all_situations(latencies: Sequence[float], callers: Sequence[int]) -> list[Situation]:
    """Every latency with every number of callers, then old rows, then TLS."""
    widths = [Situation(latency, many) for latency, many in itertools.product(latencies, callers)]
    return [*widths, Situation(envelope=1), Situation(tls=True)]


def measure_all(situations: Sequence[Situation], seconds: float, tell: Tell) -> list[dict[str, Any]]:
    """Measure each of `REQUESTS` in each situation, on two workers."""
    found = []
    for situation in situations:
        with _prepare(situation) as (machine, service):
            for name in REQUESTS:
                tell(f"{name}: {asdict(situation)}")
                load = Load(name, target(service, WALLETS), situation.callers, seconds, WARM_UP_SECONDS)
                found.append({**asdict(situation), **measure(machine, service, load)})
    return found


def measure_cold(rounds: int, tell: Tell) -> list[dict[str, Any]]:
    """Seconds from the command to ready, and milliseconds of the first request of its kind after that."""
    found = []
    with rig(Situation().latency_ms) as machine:
        small = machine.installation("small")
        fill(small.database_url, KEYS, WALLETS)
        for name in COLD:
            tell(f"cold: {name}")
            ready, first = [], []
            for _ in range(rounds):
                with small.serving(1) as service:
                    ready.append(service.ready_after)
                    first.append(_first(name, service))
            medians = {"ready_s": statistics.median(ready), "first_ms": statistics.median(first)}
            found.append({"scenario": name, **{key: round(value, 2) for key, value in medians.items()}})
    return found


def situations_table(found: Sequence[dict[str, Any]]) -> str:
    """The runs as Markdown."""
    head = "| KMS | callers | rows | TLS | request | requests/s | p50 | p99 ms | service CPU ms |"
    lines = [head, "| ---: | ---: | --- | --- | --- | ---: | ---: | ---: | ---: |"]
    for each in found:
        tls = "yes" if each["tls"] else "no"
        words = f"{each['latency_ms']:g} ms | {each['callers']} | v{each['envelope']} | {tls}"
        times = f"{each['per_second']:,.0f} | {each['p50_ms']:.1f} | {each['p99_ms']:.1f}"
        lines.append(f"| {words} | {each['scenario']} | {times} | {each['cpu_ms']['service']:.2f} |")
    return "\n".join(lines)


@contextmanager
def _prepare(situation: Situation) -> Iterator[tuple[Rig, Service]]:
    with rig(situation.latency_ms) as machine, ExitStack() as held:
        small = machine.installation("small")
        fill(small.database_url, KEYS, WALLETS, envelope_version=situation.envelope)
        if situation.tls:
            small = held.enter_context(_put_behind_tls(machine, small))
        yield machine, held.enter_context(small.serving(WORKERS))


@contextmanager
def _put_behind_tls(machine: Rig, plain: Installation) -> Iterator[Installation]:
    certificate, key = certify(machine.folder)
    with (
        _front(certificate, key, HTTP, machine.kms_url) as kms_port,
        _front(certificate, key, POSTGRES, plain.database_url) as database_port,
    ):
        plain_port = urlsplit(plain.database_url).port
        shown = plain.database_url.replace(f":{plain_port}/", f":{database_port}/")
        changed = {
            "DATABASE_URL": f"{shown}?sslmode=verify-full&sslrootcert={certificate}",
            "AWS_ENDPOINT_URL_KMS": f"https://127.0.0.1:{kms_port}",
            "AWS_CA_BUNDLE": str(certificate),
        }
        yield replace(plain, serving_environment=plain.environment | changed)


@contextmanager
def _front(certificate: Path, key: Path, protocol: str, url: str) -> Iterator[int]:
    words = (str(certificate), str(key), protocol, str(urlsplit(url).port))
    with running("benchmarks.tls", *words, stdout=subprocess.PIPE) as front:
        assert front.stdout is not None
        yield int(front.stdout.readline())


def _first(name: str, service: Service) -> float:
    call = next(SCENARIOS[name](target(service, WALLETS)))
    head, _, body = call.request.partition(_HEAD_ENDS)
    line, *headers = head.decode().split("\r\n")
    method, path, _ = line.split(" ")
    fields = dict(header.split(": ", 1) for header in headers)
    asked = urllib.request.Request(f"{service.url}{path}", body or None, fields, method=method)
    began = time.perf_counter()
    with urllib.request.urlopen(asked) as answer:
        answer.read()
    return 1000 * (time.perf_counter() - began)
