"""Nothing blocks the event loop for long, whatever is asked of it (invariant 12)."""

import asyncio
import asyncio.events
import gc
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
from httpx import ASGITransport, AsyncClient

from calling import ALL
from kms_service.api.app import create_app
from kms_service.bootstrap import build
from kms_service.settings import Settings
from wiring import TESTER

# Where coverage is measured, Python takes up to three times as long.
MOST_SECONDS = 0.02 if sys.gettrace() is None else 0.06
# What runs less often says little: one sample may have met an interrupt.
_ENOUGH = 5
_AT_ONCE = 8


Took = dict[str, dict[object, float]]


@pytest.mark.invariant(12)
def test_no_callback_computes_for_long_under_load(settings: Settings) -> None:
    """By processor time, and by what most requests of a kind take: what blocks would block them all."""
    took: Took = defaultdict(dict)
    asyncio.run(_serve(settings, took))  # asyncio's own loop: its callbacks can be timed one by one
    assert took.keys() >= {"POST /wallets", "GET /wallets", "GET /metrics"}
    assert _slow(took) == {}


def test_a_callback_that_blocks_the_loop_is_noticed() -> None:
    took: Took = defaultdict(dict)

    async def spin() -> None:
        end = time.thread_time() + 2 * MOST_SECONDS
        while time.thread_time() < end:
            pass

    async def block() -> None:
        with _time_callbacks(took):
            for _ in range(_ENOUGH):
                await asyncio.create_task(spin(), name="GET /spin")

    asyncio.run(block())
    assert _slow(took).keys() == {"GET /spin"}


def _slow(took: Took) -> dict[str, float]:
    """What blocks the loop for too long, with the seconds that it mostly takes."""
    mostly = {what: median(times.values()) for what, times in took.items() if len(times) >= _ENOUGH}
    return {what: seconds for what, seconds in mostly.items() if seconds > MOST_SECONDS}


async def _serve(settings: Settings, took: Took) -> None:
    services = build(settings)
    await services.check()
    made = await services.tokens.create(
        TESTER,
        "app",
        ALL,
        expires_in=None,
        private_key_reads_per_minute=None,
        signatures_per_minute=None,
        policy=None,
    )
    app = create_app(services, owns_process=False)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(
            transport=ASGITransport(app),
            base_url="http://service",
            headers={"Authorization": f"Bearer {made.secret}"},
        ) as client,
    ):
        await _everything(client, "first")  # what is loaded once, at the first of a kind, is not meant
        with _time_callbacks(took):
            for first in range(0, 5 * _AT_ONCE, _AT_ONCE):
                users = [f"user-{first + number}" for number in range(_AT_ONCE)]
                await asyncio.gather(*(_everything(client, user) for user in users))


@contextmanager
def _time_callbacks(took: Took) -> Iterator[None]:
    """Note the longest callback of every request, and of everything else that runs."""
    run = asyncio.events.Handle._run

    def run_timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        seconds = time.thread_time() - began
        what, which = _what(handle)
        took[what][which] = max(seconds, took[what].get(which, 0.0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.events.Handle, "_run", run_timed)
        gc.disable()  # the heap of all tests would be walked, not the service's
        yield
    gc.enable()


def _what(handle: asyncio.Handle) -> tuple[str, object]:
    """The kind of work, and which piece of it; a task that asks for something is called by its request."""
    callback = getattr(handle, "_callback", None)
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return getattr(callback, "__qualname__", repr(callback)), handle
    if " /" in task.get_name():
        return task.get_name(), task
    return getattr(task.get_coro(), "__qualname__", "a coroutine"), handle


async def _everything(client: AsyncClient, user: str) -> None:
    wallet = f"/wallets/{user}"
    for method, path, body in (
        ("POST", "/wallets", {"userId": user}),
        ("GET", f"{wallet}/private-key", None),
        ("POST", f"{wallet}/sign/message", {"message": "hello"}),
        ("GET", "/wallets", None),
        ("GET", "/audit/events", None),
        ("POST", "/kms/pool/refresh", None),
        ("GET", "/metrics", None),
    ):
        task = asyncio.current_task()
        assert task is not None
        task.set_name(f"{method} {path}")
        answer = await client.request(method, path, json=body)
        assert answer.is_success, answer.text
