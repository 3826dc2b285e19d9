"""Ending a connection on which something takes too long.

A server that is frozen keeps no time-out of its own: then the connection is cut from this side.
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
    """End the connection when what is done inside takes longer: whoever waits there then meets a lost one."""
    cut = asyncio.get_running_loop().call_later(seconds, cut_off, driver)
    try:
        yield
    finally:
        cut.cancel()


def cut_off(driver: psycopg.AsyncConnection[Any]) -> None:
    """End the connection now, from this side."""
    log.error("database_cut_off")
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(driver.pgconn.socket)) as waiting:
        waiting.shutdown(socket.SHUT_RDWR)
