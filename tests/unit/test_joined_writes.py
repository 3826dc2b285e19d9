"""Writes of one turn of the loop leave together, and nothing is kept back for longer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from event_loop import turns
from kms_service.api.connection.joined_writes import JoinedWrites


class Wire(asyncio.Transport):
    """Where the writes go: the transport's side of the kernel."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.seen: list[bytes | str] = []

    def write(self, data: Any) -> None:
        self.seen.append(bytes(data))

    def write_eof(self) -> None:
        self.seen.append("eof")

    def close(self) -> None:
        self.seen.append("close")


def _collect_writes(act: Callable[[JoinedWrites], None]) -> list[bytes | str]:
    wire = Wire()

    async def scenario() -> None:
        act(JoinedWrites(wire, asyncio.get_running_loop()))
        await turns()

    asyncio.run(scenario())
    return wire.seen


def test_head_and_body_are_one_write() -> None:
    def answer(transport: JoinedWrites) -> None:
        transport.write(b"head")
        transport.write(b"body")

    assert _collect_writes(answer) == [b"headbody"]


def test_a_head_alone_goes_out_in_the_next_turn() -> None:
    assert _collect_writes(lambda transport: transport.write(b"head")) == [b"head"]


def test_an_empty_write_writes_nothing() -> None:
    assert _collect_writes(lambda transport: transport.write(b"")) == []


@pytest.mark.parametrize(("end", "told"), [("close", "close"), ("write_eof", "eof")])
def test_nothing_is_kept_back_at_the_end(end: str, told: str) -> None:
    def answer(transport: JoinedWrites) -> None:
        transport.write(b"head")
        getattr(transport, end)()

    assert _collect_writes(answer) == [b"head", told]


def test_other_calls_go_to_the_transport() -> None:
    def look(transport: JoinedWrites) -> None:
        assert transport.get_extra_info("peername") == ("127.0.0.1", 1)

    _collect_writes(look)
