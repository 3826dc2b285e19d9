"""Cancelled at every single await, a use case leaves nothing half done behind (invariant 15)."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psutil import Process

from event_loop import complete, turns
from kms_endpoint import KmsEndpoint
from kms_service.api.asgi.in_flight import InFlight
from kms_service.bootstrap import Services
from kms_service.service.switches.seal import SealService
from kms_service.service.wallets import signatures
from kms_service.settings import Settings
from kms_service.store.postgres.connection.dialling import Dialler
from waiting import wait_until
from wiring import TESTER

Work = Callable[[Services, str], Coroutine[Any, Any, object]]


class _CancelledAt:
    """Runs a coroutine and cancels its task where it waits for the `step`-th time."""

    def __init__(self, work: Coroutine[Any, Any, object], step: int) -> None:
        self._work = work
        self._step = step
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, object]:
        resume: Callable[[], Any] = partial(self._work.send, None)
        while True:
            try:
                waiting = resume()
            except StopIteration as end:
                return end.value
            self.steps += 1
            task = asyncio.current_task()
            if self.steps == self._step and task is not None:
                task.cancel()
            try:
                answer = yield waiting
            except BaseException as error:  # noqa: BLE001 # whatever it is, it belongs to the coroutine
                resume = partial(self._work.throw, error)
            else:
                resume = partial(self._work.send, answer)


def _create(services: Services, user: str) -> Coroutine[Any, Any, object]:
    return services.wallets.ensure_wallet(TESTER, user)


def _read(services: Services, _user: str) -> Coroutine[Any, Any, object]:
    return services.wallets.get_private_key_for_user(TESTER, "settled")


def _sign(services: Services, _user: str) -> Coroutine[Any, Any, object]:
    return services.signing.sign(TESTER, "settled", lambda: signatures.of_message(b"hello"))


def _seal(services: Services, user: str) -> Coroutine[Any, Any, object]:
    return _seal_and_unseal(services.seal, user)


async def _seal_and_unseal(seal: SealService, reason: str) -> None:
    await seal.seal(TESTER, reason)
    await seal.unseal(TESTER)


def _move(services: Services, _user: str) -> Coroutine[Any, Any, object]:
    return services.pool_service.refresh()


@pytest.mark.invariant(15)
@pytest.mark.parametrize("work", [_create, _read, _sign, _seal, _move])
def test_a_use_case_cancelled_at_any_await_leaves_nothing_half_done(
    services: Services, database_url: str, work: Work
) -> None:
    complete(services.wallets.ensure_wallet(TESTER, "settled"))
    complete(
        services.signing.sign(TESTER, "settled", lambda: signatures.of_message(b"first"))
    )  # loads signing
    step, cancelled = 0, True
    while cancelled:
        step += 1
        cancelled = complete(_ends_cancelled(_CancelledAt(work(services, f"user-{step}"), step)))
        assert services.database.in_use == 0, f"a connection is still out after a cancel at await {step}"
        assert _places_taken(services) == 0, f"a place is still taken after a cancel at await {step}"
    assert step > 2
    _assert_rows_agree(database_url)
    complete(services.seal.unseal(TESTER))
    assert complete(services.wallets.ensure_wallet(TESTER, "afterwards")).created
    read = complete(services.wallets.get_private_key_for_user(TESTER, "afterwards"))
    assert read.wallet_address == complete(services.wallets.get_wallet("afterwards")).wallet_address
    assert complete(services.verifier.verify(None, {}, lambda _: None)).intact


def _places_taken(services: Services) -> int:
    return sum(len(key.lane._started) for key in services.pool._health._keys.values())


async def _ends_cancelled(work: _CancelledAt) -> bool:
    return (await _settle(work)).cancelled()


async def _settle(work: _CancelledAt) -> asyncio.Task[Any]:
    async def run() -> object:
        return await work

    task = asyncio.create_task(run())
    await asyncio.wait({task})
    return task


async def _read_error(task: asyncio.Task[Any]) -> BaseException:
    try:
        await task
    except asyncio.CancelledError as error:
        return error
    raise AssertionError("the task was not cancelled")


def _assert_rows_agree(database_url: str) -> None:
    """Every wallet has its audit row, and every such row its wallet."""
    with psycopg.connect(database_url) as connection:
        wallets = connection.execute("SELECT user_id FROM wallets ORDER BY 1").fetchall()
        rows = connection.execute(
            "SELECT user_id FROM audit_events WHERE action = 'wallet.create' AND outcome = 'ok' ORDER BY 1"
        ).fetchall()
    assert wallets == rows
    with psycopg.connect(database_url, autocommit=True) as connection:
        open_transactions = (
            "SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' "
            "AND datname = current_database()"
        )
        wait_until(lambda: not connection.execute(open_transactions).fetchall())


@pytest.mark.invariant(15)
def test_a_create_whose_caller_is_gone_is_finished_and_recorded(
    services: Services, kms_endpoint: KmsEndpoint, database_url: str
) -> None:

    in_flight = InFlight(8, 10)

    async def leave_early() -> None:
        caller = asyncio.create_task(in_flight.run(services.wallets.ensure_wallet, TESTER, "left"))
        await turns(2)
        caller.cancel()
        await asyncio.wait({caller})
        assert caller.cancelled()
        await in_flight.close()

    complete(leave_early())
    assert kms_endpoint.count("Encrypt") >= 1
    _assert_rows_agree(database_url)
    assert not complete(services.wallets.ensure_wallet(TESTER, "left")).created


@pytest.mark.invariant(15)
def test_a_log_in_that_is_cancelled_at_any_await_keeps_no_socket(settings: Settings) -> None:
    """At once, not when it is collected: the server would wait for its password for a minute."""
    dialler, port = Dialler(settings), urlsplit(settings.database_url.get_secret_value()).port

    def sockets() -> int:
        return sum(bool(each.raddr) and each.raddr.port == port for each in Process().net_connections("tcp"))

    before, kept, step = sockets(), list[BaseException | None](), 0
    gc.disable()
    try:
        while True:
            step += 1
            task = complete(_settle(_CancelledAt(dialler.connect(), step)))
            if not task.cancelled():
                break
            kept.append(
                complete(_read_error(task))
            )  # whoever keeps the error keeps the frames it came through
            assert sockets() == before, f"a socket is open after a cancel at await {step}"
        complete(task.result().close())
    finally:
        gc.enable()
    assert len(kept) > 2
    assert sockets() == before
