"""A Region's KMS that fails under load, measured: `python tests/regions/region_load.py` prints a table.

Real parts: `kms-service serve` as a process, PostgreSQL, HTTP, two KMS stand-ins. Callers create wallets and
read private keys; in the middle of it the first Region fails, and comes back. Counted are the requests that
failed and until when, how long the others took, and how many wallets did not open to their own address.
"""

import asyncio
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the tests' own modules are, run as a program

from fault_load import CALLERS, Load, Request, quantile
from fault_table import database
from kms_endpoint import Hang, KmsEndpoint, Reset, Status
from kms_service.access.scopes import Scope
from regions.two_regions import FALLBACK, TwoRegions, two_regions
from server_process import environment, make_token, serve
from waiting import pause_async

KEYS = 10
HEALTHY_SECONDS, FAULT_SECONDS, AFTER_SECONDS = 4.0, 12.0, 14.0
FLAP_SECONDS = 0.7
Repair = Callable[[], None]


def hangs(kms: KmsEndpoint) -> Repair:
    """No answer to anything."""
    return kms.on().answer(Hang()).remove


def resets(kms: KmsEndpoint) -> Repair:
    """Every connection is cut."""
    return kms.on().answer(Reset()).remove


def answers_5xx(kms: KmsEndpoint) -> Repair:
    """500 to everything."""
    return kms.on().answer(Status(500)).remove


def refuses_connections(kms: KmsEndpoint) -> Repair:
    """Nobody listens."""
    stack = ExitStack()
    stack.enter_context(kms.refusing_connections())
    return stack.close


def flaps(kms: KmsEndpoint) -> Repair:
    """Cut off and back, over and over."""
    over = threading.Event()

    def flap() -> None:
        while not over.is_set():
            with kms.on().answer(Reset()):
                over.wait(FLAP_SECONDS)
            over.wait(FLAP_SECONDS)

    thread = threading.Thread(target=flap)
    thread.start()

    def repair() -> None:
        over.set()
        thread.join()

    return repair


def flaps_hanging(kms: KmsEndpoint) -> Repair:
    """Silent and back, over and over."""
    over = threading.Event()

    def flap() -> None:
        while not over.is_set():
            with kms.on().answer(Hang()):
                over.wait(3 * FLAP_SECONDS)
            over.wait(FLAP_SECONDS)

    thread = threading.Thread(target=flap)
    thread.start()

    def repair() -> None:
        over.set()
        thread.join()

    return repair


FAULTS: dict[str, Callable[[KmsEndpoint], Repair]] = {
    "hangs": hangs,
    "refuses connections": refuses_connections,
    "cuts connections": resets,
    "answers 500": answers_5xx,
    "flaps, cutting": flaps,
    "flaps, hanging": flaps_hanging,
}


@contextmanager
def serving(database_url: str, regions: TwoRegions, **changes: object) -> Iterator[Load]:
    """Callers of a new service that knows both Regions."""
    env = environment(
        database_url,
        regions.home,
        KMS_FALLBACK_REGION=FALLBACK,
        KMS_FALLBACK_ENDPOINT_URL=regions.fallback.url,
        **changes,
    )
    token = make_token(env, f"load-{uuid.uuid4()}", *Scope)
    with serve(env) as server:
        yield Load(server, token)


async def _run(
    regions: TwoRegions, load: Load, fault: Callable[[KmsEndpoint], Repair]
) -> tuple[float, float]:
    callers = asyncio.create_task(load.run(HEALTHY_SECONDS + FAULT_SECONDS + AFTER_SECONDS))
    await pause_async(HEALTHY_SECONDS)
    began = time.monotonic() - load.started
    repair = await asyncio.to_thread(fault, regions.home)
    await pause_async(FAULT_SECONDS)
    await asyncio.to_thread(repair)
    ended = time.monotonic() - load.started
    await callers
    return began, ended


def _report(name: str, load: Load, began: float, ended: float) -> None:
    for kind in ("create", "read"):
        mine = [each for each in load.requests if each.kind == kind]
        during = [each for each in mine if began <= each.at < ended]
        failed = [each for each in mine if each.status not in (200, 201)]
        until = max((each.at + each.seconds - began for each in failed), default=0.0)
        click.echo(
            f"| {name} | {kind} | {len(mine)} | {len(during)} | {len(failed)} {_codes(failed)} "
            f"| {until:.1f} | {quantile(mine, 0.5):.0f} | {quantile(during, 0.99):.0f} | "
            f"{max((each.seconds for each in during), default=0) * 1000:.0f} |"
        )


def _codes(failed: list[Request]) -> str:
    return ", ".join(f"{count} {code}" for code, count in Counter(each.code for each in failed).items())


def main() -> None:
    """Run every fault against a new service, and print a table."""
    seconds = f"{HEALTHY_SECONDS} s healthy, {FAULT_SECONDS} s at fault, {AFTER_SECONDS} s after"
    click.echo(f"{CALLERS} callers; {seconds}")
    click.echo(
        "| fault | kind | requests | during | failed | last failure s | p50 ms | p99 during ms | longest ms |"
    )
    for name, fault in FAULTS.items():
        # A database of its own: the keys are others each time.
        with database("region-load") as url, two_regions(KEYS) as regions, serving(url, regions) as load:
            began, ended = asyncio.run(_run(regions, load, fault))
            _report(name, load, began, ended)
            told = [each["event"] for each in load.server.events() if each["event"].startswith("region_")]
            lost = asyncio.run(load.count_lost())
            click.echo(f"  {dict(Counter(told))}; {lost} of {len(load.wallets)} wallets do not open")


if __name__ == "__main__":
    main()
