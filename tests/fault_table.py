"""Measures what the service does when KMS fails, fault by fault: `python tests/fault_table.py` prints it.

Each fault meets a new process (two keys, new circuits). The create is the first one that used the faulty key;
the reads are of one wallet under it and one under the other key. `/readyz` is asked after these, and again
with the fault on both keys, after as many creates as it takes to open the circuits.
"""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import click
import httpx
import psycopg

from asgi_client import AsgiClient
from event_loop import complete
from kms_endpoint import (
    Delay,
    Empty,
    Error,
    Fault,
    FlippedPlaintext,
    Garbage,
    Hang,
    KmsEndpoint,
    LostReply,
    OtherKeyId,
    Reset,
    ShortPlaintext,
    Status,
    Truncated,
)
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.bootstrap import Services
from kms_service.local.postgres import postgres
from kms_service.store.postgres.migrations import migrate
from kms_service.telemetry import logs
from wiring import TESTER, running_services, settings_for

PREFIX = "Empressa-wallet-key"
FAULTY, OTHER = f"alias/{PREFIX}-1", f"alias/{PREFIX}-2"
_numbers = count()


@dataclass(frozen=True)
class Answer:
    """Status, problem code and seconds of one request."""

    status: int
    code: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.status} {self.code} {self.seconds * 1000:.0f} ms".replace("  ", " ")


@dataclass(frozen=True)
class Behaviour:
    """One row of the table."""

    create: Answer
    read: Answer
    other_read: Answer
    ready_one: str
    create_all: Answer
    ready_all: str


Bring = Callable[[KmsEndpoint, str], object]


def script(fault: Fault) -> Bring:
    """Give every cryptographic call under a key this fault."""
    return lambda endpoint, alias: endpoint.on("Encrypt", "Decrypt", key=alias).answer(fault)


def state(name: str) -> Bring:
    """Put the key in another state."""

    def bring(endpoint: KmsEndpoint, alias: str) -> None:
        endpoint.key(alias).state = name

    return bring


OTHER_ARN = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000"

FAULTS: dict[str, Bring] = {
    "none": lambda _endpoint, _alias: None,
    "key disabled": state("Disabled"),
    "key pending deletion": state("PendingDeletion"),
    "key policy denies": script(Error("AccessDeniedException")),
    "key gone (NotFoundException)": script(Error("NotFoundException")),
    "ThrottlingException": script(Error("ThrottlingException")),
    "KeyUnavailableException (500)": script(Error("KeyUnavailableException")),
    "KMSInternalException (500)": script(Error("KMSInternalException")),
    "DependencyTimeoutException (503)": script(Error("DependencyTimeoutException")),
    "bare HTTP 500": script(Status(500)),
    "latency of 0.5 s": script(Delay(0.5)),
    "hang": script(Hang()),
    "connection reset": script(Reset()),
    "done, then reset": script(LostReply()),
    "garbage in place of JSON": script(Garbage()),
    "empty body": script(Empty()),
    "truncated body": script(Truncated()),
    "reply names another key": script(OtherKeyId(OTHER_ARN)),
    "DEK of 31 bytes": script(ShortPlaintext()),
    "one bit of the DEK wrong": script(FlippedPlaintext()),
    "InvalidCiphertextException": script(Error("InvalidCiphertextException")),
    "IncorrectKeyException": script(Error("IncorrectKeyException")),
}


def measure(database_url: str, bring: Bring) -> Behaviour:
    """Measure one fault, with a new KMS and a new process on this database."""
    _forget_mac_keys(database_url)
    with KmsEndpoint() as endpoint:
        endpoint.add_pool(PREFIX, 2)
        settings = settings_for(database_url, endpoint).model_copy(update={"kms_key_pool_size": 2})
        with running_services(settings) as services:
            return _Meeting(services, endpoint).behaviour(bring)


def _forget_mac_keys(database_url: str) -> None:
    # They were wrapped by the previous KMS, which is gone with its keys. Only the owner can delete them.
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE row_mac_keys DISABLE TRIGGER USER")
        connection.execute("DELETE FROM row_mac_keys")
        connection.execute("ALTER TABLE row_mac_keys ENABLE TRIGGER USER")


class _Meeting:
    def __init__(self, services: Services, endpoint: KmsEndpoint) -> None:
        self._services, self._endpoint = services, endpoint
        made = complete(
            services.tokens.create(
                TESTER,
                f"fault-{next(_numbers)}-{time.time_ns()}",
                list(Scope),
                expires_in=None,
                private_key_reads_per_minute=None,
                signatures_per_minute=None,
                policy=None,
            )
        )
        self._client = AsgiClient(create_app(services, owns_process=False), made.secret)

    def behaviour(self, bring: Bring) -> Behaviour:
        mine, others = self._wallet_under(FAULTY), self._wallet_under(OTHER)
        with ExitStack() as faults:
            self._bring(bring, FAULTY, faults)
            create = self._create_that_asks(FAULTY)
            read = self._time("GET", f"/wallets/{mine}/private-key")
            other_read = self._time("GET", f"/wallets/{others}/private-key")
            ready_one = self._ready()
            self._bring(bring, OTHER, faults)
            create_all = self._creates_until_open()
            return Behaviour(create, read, other_read, ready_one, create_all, self._ready())

    def _bring(self, bring: Bring, alias: str, faults: ExitStack) -> None:
        rule = bring(self._endpoint, alias)
        if hasattr(rule, "remove"):
            faults.callback(rule.remove)

    def _wallet_under(self, alias: str) -> str:
        while True:
            user = f"user-{next(_numbers)}"
            answer = self._client.put(f"/wallets/{user}")
            if answer.json()["kmsKeyId"] == self._endpoint.key(alias).arn:
                return user

    def _create_that_asks(self, alias: str) -> Answer:
        asked = self._endpoint.count("Encrypt", key=alias)
        while True:
            answer = self._time("PUT", f"/wallets/user-{next(_numbers)}")
            if self._endpoint.count("Encrypt", key=alias) > asked:
                return answer

    def _creates_until_open(self) -> Answer:
        first = self._time("PUT", f"/wallets/user-{next(_numbers)}")
        for _ in range(8):
            if first.status < 500 or not any(key.wraps for key in self._services.pool.keys):
                break
            if first.code == "kms_throttled":
                break
            self._time("PUT", f"/wallets/user-{next(_numbers)}")
        return first

    def _time(self, method: str, path: str) -> Answer:
        started = time.perf_counter()
        answer = self._client.request(method, path)
        return Answer(answer.status_code, answer.json().get("code", ""), time.perf_counter() - started)

    def _ready(self) -> str:
        answer: httpx.Response = self._client.get("/readyz")
        return f"{answer.status_code} kms: {answer.json()['checks']['kms']}"


@contextmanager
def database(name: str) -> Iterator[str]:
    """The URL of a new, migrated database on a new server."""
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder), {}) as server:
        server.ensure_database(name)
        migrate(server.url(name))
        yield server.url(name)


def main() -> None:
    """Print the table in Markdown."""
    click.echo(
        "| fault | create, one key faulty | read under it | read under another | /readyz "
        "| create, all keys faulty | /readyz |\n" + "| --- " * 7 + "|"
    )
    with database("faults") as url:
        for name, bring in FAULTS.items():
            row = measure(url, bring)
            cells = [row.create, row.read, row.other_read, row.ready_one, row.create_all, row.ready_all]
            click.echo(f"| {name} | " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    logs.configure("ERROR", "json", io.StringIO())
    main()
