"""Cuts off connections on which something takes too long.

A frozen server does not apply its own time-outs, so the connection must be cut from this side.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from kms_service.telemetry.logs import get_logger

log = get_logger()


@contextmanager
def cut_off_after(seconds: float, driver: Any) -> Iterator[None]:
    """Cut the connection off if the block takes longer; whoever waits for it sees a lost connection then."""
    cut = asyncio.get_running_loop().call_later(seconds, cut_off, driver)
    try:
        yield
    finally:
        cut.cancel()


def cut_off(driver: psycopg.AsyncConnection[Any]) -> None:
    """Cut the connection off now, from this side."""
    log.error("database_cut_off")
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(driver.pgconn.socket)) as waiting:
        waiting.shutdown(socket.SHUT_RDWR)
