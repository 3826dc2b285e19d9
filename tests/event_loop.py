"""The event loop of a test process: everything asynchronous runs on it, in a thread beside the tests."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The one loop, started when first needed."""
    made = uvloop.new_event_loop()
    threading.Thread(target=made.run_forever, name="event loop", daemon=True).start()
    return made


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine on the loop, in this thread's context, and return its result."""
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


@contextmanager
def enter(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter and leave an asynchronous context on the loop."""
    value = complete(_call(manager.__aenter__))
    try:
        yield value
    except BaseException as error:
        if not complete(_call(manager.__aexit__, type(error), error, error.__traceback__)):
            raise
    else:
        complete(_call(manager.__aexit__, None, None, None))


def each(items: AsyncIterator[T]) -> Iterator[T]:
    """The items of an asynchronous iterator."""
    while True:
        try:
            yield complete(_call(items.__anext__))
        except StopAsyncIteration:
            return


def on_loop(work: Callable[[], T]) -> T:
    """Run a plain function on the loop, such as one that makes a task, and return its result."""

    async def call() -> T:
        return work()

    return complete(call())


async def turns(count: int = 1) -> None:
    """Yield to the running loop so many times, so that what is ready goes on by as many steps."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _call(method: Any, *arguments: Any) -> Any:
    return await method(*arguments)
