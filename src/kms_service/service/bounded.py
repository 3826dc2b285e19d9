"""Runs many pieces of work concurrently, up to a limit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def map_bounded(work: Callable[[T], Awaitable[R]], items: Iterable[T], at_once: int) -> list[R]:
    """What `work` returns for each item, in the order of the items; at most `at_once` run at a time.

    An error or a cancellation ends the others too: none is still running when this ends.
    """
    places = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with places:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
