"""Runs a command's coroutine on a new event loop."""

import asyncio
import functools
import signal
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import uvloop

P = ParamSpec("P")
T = TypeVar("T")


def on_loop(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Wrap a coroutine command for click, which knows no coroutines; Ctrl-C cancels it where it waits."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_on_loop(command(*args, **kwargs))

    return run


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine on a new event loop, and return its result."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def stop_on_sigterm() -> None:
    """Have SIGTERM end the running command as Ctrl-C does; process 1 of a container would ignore it."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
