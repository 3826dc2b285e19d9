"""Single keys that fail under load, measured: `python tests/fault_load.py` prints what callers saw.

The parts are real: `kms-service serve` as a process, PostgreSQL, HTTP. Sixteen callers create wallets and
read private keys for some seconds; meanwhile one key of ten fails, and is repaired. It counts the creates
that failed and the reads under other keys that failed, and times how soon the key served again. In a last run
30 % of all KMS calls fail at random; it then opens every wallet that was answered.
"""

import asyncio
import random
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import click
import httpx

from fault_table import database
from kms_endpoint import Error, Hang, KmsEndpoint, Reset, Status
from kms_service.access.scopes import Scope
from kms_service.local.kms.faults import Fault
from server_process import ServerProcess, environment, make_token, serve
from waiting import pause, pause_async

PREFIX = "Empressa-wallet-key"
FAULTY = f"alias/{PREFIX}-1"
CALLERS = 16
HEALTHY_SECONDS, FAULT_SECONDS, HEALING_SECONDS = 3.0, 6.0, 14.0
_WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would read all authorities for each client
Break = Callable[[KmsEndpoint], Callable[[], None]]


def in_state(state: str) -> Break:
    """Put the key in another state, until it is enabled again."""

    def break_(kms: KmsEndpoint) -> Callable[[], None]:
        kms.key(FAULTY).state = state
        return lambda: setattr(kms.key(FAULTY), "state", "Enabled")

    return break_


def deny(kms: KmsEndpoint) -> Callable[[], None]:
    """Have the key policy refuse everything."""
    return kms.deny(FAULTY, "Encrypt", "Decrypt", "DescribeKey").remove


def hang(kms: KmsEndpoint) -> Callable[[], None]:
    """Leave cryptographic calls under the key without an answer."""
    return kms.on("Encrypt", "Decrypt", key=FAULTY).answer(Hang()).remove


SCENARIOS: dict[str, Break] = {
    "disabled": in_state("Disabled"),
    "denied": deny,
    "scheduled for deletion": in_state("PendingDeletion"),
    "hangs": hang,
}


@dataclass(frozen=True)
class Request:
    """One request: when it began (seconds from the start), its kind, status, code and seconds taken."""

    at: float
    kind: str
    status: int
    code: str
    seconds: float


@dataclass
class Load:
    """Callers of one service, who pause between two requests; knows which wallet lies under which key."""

    server: ServerProcess
    token: str
    pause_seconds: float = 0.0
    wallets: list[tuple[str, str, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    faulty_arn: str = ""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _numbers: "count[int]" = field(default_factory=count)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def run(self, seconds: float) -> None:
        """Run all callers at once for `seconds`."""
        limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
        async with httpx.AsyncClient(
            base_url=self.server.url, headers=self._headers, timeout=30, limits=limits, verify=_WITHOUT_TLS
        ) as client:
            end = time.monotonic() + seconds
            await asyncio.gather(*(self._caller(client, end) for _ in range(CALLERS)))

    async def _caller(self, client: httpx.AsyncClient, end: float) -> None:
        while time.monotonic() < end:
            if not self.wallets or random.random() < 0.4:
                await self._create(client)
            else:
                await self._read(client, *random.choice(self.wallets))
            await pause_async(self.pause_seconds)

    async def _create(self, client: httpx.AsyncClient) -> None:
        user = f"{self.run_id}-{next(self._numbers)}"
        answer = await self._time(client, "create", "PUT", f"/wallets/{user}")
        if answer is not None and answer.status_code == 201:
            wallet = answer.json()
            self.wallets.append((user, wallet["walletAddress"], wallet["kmsKeyId"]))

    async def _read(self, client: httpx.AsyncClient, user: str, address: str, key_arn: str) -> None:
        kind = "read" if key_arn != self.faulty_arn else "read under it"
        answer = await self._time(client, kind, "GET", f"/wallets/{user}/private-key")
        if answer is not None and answer.status_code == 200:
            assert answer.json()["walletAddress"] == address

    async def _time(
        self, client: httpx.AsyncClient, kind: str, method: str, path: str
    ) -> httpx.Response | None:
        at = time.monotonic()
        try:
            answer = await client.request(method, path)
        except httpx.TransportError as error:
            self._note(at, kind, 0, type(error).__name__)
            return None
        self._note(at, kind, answer.status_code, "" if answer.is_success else answer.json()["code"])
        return answer

    def _note(self, at: float, kind: str, status: int, code: str) -> None:
        self.requests.append(Request(at - self.started, kind, status, code, time.monotonic() - at))

    async def count_lost(self) -> int:
        """The number of answered wallets that do not open to their address."""
        lost = 0
        async with httpx.AsyncClient(base_url=self.server.url, headers=self._headers) as client:
            for user, address, _ in self.wallets:
                answer = await client.get(f"/wallets/{user}/private-key", timeout=30)
                lost += answer.status_code != 200 or answer.json()["walletAddress"] != address
        return lost


@contextmanager
def serving(database_url: str, kms: KmsEndpoint) -> Iterator[Load]:
    """Callers of a new service."""
    kms.add_pool(PREFIX, 10)
    env = environment(database_url, kms)
    token = make_token(env, f"load-{uuid.uuid4()}", *Scope)
    with serve(env) as server:
        yield Load(server, token, faulty_arn=kms.key(FAULTY).arn)


async def one_key_fails(kms: KmsEndpoint, load: Load, break_: Break) -> None:
    """Run the callers, with the fault in the middle."""
    callers = asyncio.create_task(load.run(HEALTHY_SECONDS + FAULT_SECONDS + HEALING_SECONDS))
    await pause_async(HEALTHY_SECONDS)
    repair = break_(kms)
    await pause_async(FAULT_SECONDS)
    repair()
    await callers


def report(name: str, load: Load) -> None:
    """Print what callers saw; the last failure is timed from the repair."""
    repaired = HEALTHY_SECONDS + FAULT_SECONDS
    click.echo(f"\n{name}: {len(load.requests)} requests")
    for kind in ("create", "read", "read under it"):
        mine = [each for each in load.requests if each.kind == kind]
        failed = [each for each in mine if each.status not in (200, 201)]
        codes = dict(Counter(f"{each.status} {each.code}" for each in failed))
        during = [each for each in mine if HEALTHY_SECONDS <= each.at < repaired]
        click.echo(
            f"  {kind:14} {len(mine):6} in all, {len(during):5} during the fault, "
            f"{len(failed):4} failed {codes}; p50 {quantile(mine, 0.5):.0f} ms, "
            f"p99 {quantile(during, 0.99):.0f} ms, "
            f"longest {max((each.seconds for each in during), default=0) * 1000:.0f} ms during it"
            + (f"; last failure {max(e.at + e.seconds for e in failed) - repaired:+.1f} s" if failed else "")
        )


def quantile(requests: list[Request], share: float) -> float:
    """The maximum milliseconds of this share of the requests."""
    ordered = sorted(each.seconds for each in requests)
    return ordered[int(share * (len(ordered) - 1))] * 1000 if ordered else 0.0


def main() -> None:
    """Run every scenario against a new service."""
    for name, break_ in SCENARIOS.items():
        # A new database: the keys are different each time.
        with database("load") as url, KmsEndpoint() as kms, serving(url, kms) as load:
            asyncio.run(one_key_fails(kms, load, break_))
            report(name, load)
            click.echo(
                f"  the key: {kms.count('Encrypt', key=FAULTY)} Encrypt calls; "
                f"{sum(key == load.faulty_arn for _, _, key in load.wallets)} wallets made under it; "
                f"{asyncio.run(load.count_lost())} wallets lost of {len(load.wallets)}"
            )
    with database("load") as url:
        _at_random(url)


def _at_random(url: str) -> None:
    with KmsEndpoint() as kms, serving(url, kms) as load:
        operations = ("Encrypt", "Decrypt")
        faults: tuple[Fault, ...] = (Status(500), Error("KMSInternalException"), Reset())
        for seed, fault in enumerate(faults):
            kms.on(*operations).at_random(0.113, seed=seed).answer(fault)  # 30 % for the three together
        asyncio.run(load.run(12))
        kms.clear()
        failed = kms.count() - kms.count(outcome="ok")
        statuses = Counter(f"{each.kind} {each.status} {each.code}" for each in load.requests)
        pause(3)  # what failed is over: an open circuit closes
        click.echo(f"\n30 % at random: {failed} of {kms.count()} KMS calls failed; answers {dict(statuses)}")
        click.echo(f"  {asyncio.run(load.count_lost())} wallets lost of {len(load.wallets)}")


if __name__ == "__main__":
    main()
