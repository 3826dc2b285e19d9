"""uvicorn's HTTP/1.1 connection, with limits on what anybody may send before a token is known.

uvicorn has no options for the size of a head, for a head or body that never ends, for the number of requests
in one packet, or for a caller who does not read its answer.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kms_service.api.connection.admission import Admission
from kms_service.api.connection.joined_writes import join_writes
from kms_service.api.connection.patience import (
    FLUSH_SECONDS,
    LAST_HEAD_SECONDS,
    LINGER_SECONDS,
    Awaited,
    Patience,
    Wait,
    choose_awaited,
)
from kms_service.api.connection.refusals import MALFORMED, TOO_LARGE, Refusal, judge
from kms_service.api.connection.request_size import MAX_UNWANTED_BYTES, PIECE_BYTES, TURN_BYTES, RequestSize
from kms_service.telemetry import metrics


class HttpConnection(HttpToolsProtocol):
    """One connection: it reads one request at a time, and every wait has a limit."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        admission: Admission,
        patience: Patience,
        stops: Callable[[], bool],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._admission = admission
        self._patience = patience
        self._stops = stops
        self._size = RequestSize()
        self._admitted = False
        self._in_head = False
        self._served: RequestResponseCycle | None = None
        self._refusal: Refusal | None = None
        self._leaving = False
        self._ended = False
        self._unread = b""
        self._turn_comes = False
        self._unwanted = 0
        self._awaited: tuple[Awaited, object] | None = None
        self._wait = Wait(self.loop)
        self._taken = Wait(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for a head."""
        super().connection_made(join_writes(transport, self.loop))
        self._admitted = self._admission.enter(self)
        self._wait_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel every wait, and free the place."""
        self._ended = True
        self._wait.end()
        self._taken.end()
        self._admission.leave(self)
        super().connection_lost(exc)

    def evict(self) -> None:
        """Close at once, without an answer."""
        self._abort("evicted")

    def shutdown(self) -> None:
        """Serve no more requests, except one that is on its way: its caller does not know of the stop."""
        if self._served is None or self._in_head:
            self._leaving = True
            self._wait.begin(LAST_HEAD_SECONDS, self._end, Awaited.HEAD.value)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Read on, unless an answer is owed first."""
        if self._ended:
            self._unwanted += len(data)
            if self._unwanted > 2 * MAX_UNWANTED_BYTES:
                self.flow.pause_reading()
            return
        self._unread += data
        if not self._turn_comes and not self._owes_answer():
            self._take_turn()
        else:
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """Wait for the caller to read what is written, up to a limit."""
        super().pause_writing()
        self._taken.begin(self._patience.request, self._abort, "answer_not_taken")

    def resume_writing(self) -> None:
        """End that wait."""
        super().resume_writing()
        self._taken.end()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = True
        self._unwanted = 0
        self._size.begin()

    def on_url(self, url: bytes) -> None:
        """Count a part of its target."""
        self._size.target(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; drop a trailer, which would otherwise join headers that were judged already."""
        self._size.header(name, value)
        if self._in_head and not self._size.excessive:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve the request, unless its head is refused."""
        self._in_head = False
        self._refusal = self._refusal or (
            TOO_LARGE
            if self._size.excessive
            else judge(self.url, self.headers, self.parser.get_http_version(), only_probes=not self._admitted)
        )
        if self._refusal is None:
            super().on_headers_complete()
            # The answer announces a stop, so that no request is sent into a connection that is being closed.
            if self._leaving or not self._admitted or self._stops():
                self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """Count the start of a chunk as progress."""
        self._size.note_parsed()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._size.note_parsed()
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self._refusal is None:
            super().on_message_complete()

    def _take_turn(self) -> None:
        """Read a little, then let every other connection read before this one reads more."""
        self._turn_comes = False
        if self._ended:
            return
        now, later = self._unread[:TURN_BYTES], self._unread[TURN_BYTES:]
        self._unread = b""
        self._read(now)
        if self._ended:
            return  # type: ignore[unreachable] # mypy does not know that reading may end it
        self._unread += later
        if self._unread:
            self.flow.pause_reading()
            self._turn_comes = not self._owes_answer()
            if self._turn_comes:
                self.loop.call_soon(self._take_turn)
        elif self._served is None or len(self._served.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()
        self._wait_on()

    def _read(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if self._owes_answer():
                self._unread = data[start:]
                self.flow.pause_reading()
                return
            piece = data[start : start + PIECE_BYTES]
            self._parse(piece)
            if self._refusal is not None:
                self._refuse_in_turn()
                return
            if self._served is not None and self._served.response_complete and self._served.more_body:
                self._unwanted += len(piece)
                if self._unwanted > MAX_UNWANTED_BYTES:
                    metrics.connections_ended.labels("body_unwanted").inc()
                    self._linger()
                    return

    def _parse(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            # No upgrade is supported: the request was served as HTTP/1.1, and what follows is the next one.
            if rest := piece[upgrade.args[0] :]:
                self._parse(rest)
        except httptools.HttpParserError:
            self._refusal = self._refusal or MALFORMED
        else:
            self._size.feed(len(piece))
            if self._size.excessive:
                self._refusal = self._refusal or TOO_LARGE

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _owes_answer(self) -> bool:
        """Whether a whole request, or one before the latest, still lacks its whole answer."""
        served = self._served
        return bool(self.pipeline) or (
            served is not None and not served.more_body and not served.response_complete
        )

    def on_response_complete(self) -> None:
        """Read the next request, which may be there already."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._close()
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            self._refuse()
            return
        elif self._unread:
            self._take_turn()
        else:
            self.flow.resume_reading()
        self._wait_on()

    def _wait_on(self) -> None:
        if self._ended:
            return
        what = choose_awaited(self._served, in_head=self._in_head, owes_answer=self._owes_answer())
        if (what, self.cycle) == self._awaited:
            return  # already begun: sending a byte at a time does not prolong it
        self._awaited = (what, self.cycle)
        self._admission.note(self, what, None if self._served is None else self._served.scope)
        seconds = self._patience.seconds(what, only_probes=not self._admitted)
        if seconds is None:
            self._wait.end()
        else:
            self._wait.begin(seconds, self._end, what.value)

    def _refuse_in_turn(self) -> None:
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # what is wrong is its body, which will never be whole
        if not self._owes_answer():
            self._refuse()

    def _refuse(self) -> None:
        assert self._refusal is not None  # noqa: S101 # narrows
        reason = self._refusal.reason
        if self._served is not None and not self._served.response_complete:
            # What is wrong is its body.
            self._served.disconnected = True
            self._served.message_event.set()
            if self._served.response_started:
                self._end(reason)
                return
        self.transport.write(self._refusal.answer())
        metrics.connections_ended.labels(reason).inc()
        self._linger()

    def _linger(self) -> None:
        # Closing while the caller still sends would lose the answer.
        self._ended = True
        self._unread = b""
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._wait.begin(LINGER_SECONDS, self._close)

    def _end(self, why: str) -> None:
        metrics.connections_ended.labels(why).inc()
        self._close()

    def _abort(self, why: str) -> None:
        metrics.connections_ended.labels(why).inc()
        self._ended = True
        self.transport.abort()

    def _close(self) -> None:
        # What is written still goes out, if the caller reads it soon.
        self._ended = True
        self.transport.close()
        self._wait.begin(FLUSH_SECONDS, self.transport.abort)
