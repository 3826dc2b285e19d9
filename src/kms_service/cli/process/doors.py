"""Where a serving process gets its connections from: its own sockets, or the supervisor of several."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from kms_service.cli.process.listening import BACKLOG
from kms_service.cli.process.supervision.messages import FAILED, READY, STATE, STOPPING, Message, encode

if TYPE_CHECKING:
    from kms_service.cli.process.server import Server

BEAT_SECONDS = 0.5
_TELL_SECONDS = 0.01
_AT_ONCE = 64
_NO_FILES_SECONDS = 1.0


class ListeningDoor:
    """The process's own sockets, bound and not yet listening; closing the door closes them."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    def open(self, server: "Server") -> None:
        """Listen, and accept connections."""
        for each in self._sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(each, self._accept, each, server)
        self._server = server

    def note_leaving(self) -> None:
        """Do nothing: this door does not count connections."""

    def close(self) -> None:
        """Accept what waits in the backlog, then stop listening."""
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            self._accept(each, self._server)
            each.close()
        self._sockets = []

    def _accept(self, listening: socket.socket, server: "Server") -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:
                self._pause(listening, server)  # no file descriptor is left: what waits keeps waiting
                return
            server.admit(connection)

    def _pause(self, listening: socket.socket, server: "Server") -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)

        def resume() -> None:
            if listening in self._sockets:
                loop.add_reader(listening, self._accept, listening, server)

        loop.call_later(_NO_FILES_SECONDS, resume)


class SupervisedDoor:
    """The socket to the supervisor, which passes connections, and hears that this event loop still turns."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._control = control
        self._taken = 0
        self._telling = False

    def fail(self, exit_code: int, reason: str) -> None:
        """Report why this worker cannot begin to serve."""
        self._say(Message(FAILED, exit_code=exit_code, reason=reason))

    def open(self, server: "Server") -> None:
        """Report that this worker serves, and take connections."""
        self._server = server
        asyncio.get_running_loop().add_reader(self._control, self._take)
        self._say(Message(READY))
        self._beat()

    def note_leaving(self) -> None:
        """Report it soon, together with others, so that connections are spread evenly."""
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._say_state)

    def close(self) -> None:
        """Take no more; connections that were passed and not taken go to another worker."""
        asyncio.get_running_loop().remove_reader(self._control)
        self._say(Message(STOPPING))

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                part, descriptors, _flags, _address = socket.recv_fds(self._control, 1, 1)
            except BlockingIOError:
                break
            except OSError:
                part, descriptors = b"", []
            if not part:
                self._end_without_supervisor()
                return
            # Without a descriptor it is lost: this process may open no more files. It still counts as taken.
            self._taken += 1
            for descriptor in descriptors:
                self._server.admit(socket.socket(fileno=descriptor))
        # Before reading from them: until the supervisor hears this, it may give them to another worker.
        self._say_state()

    def _end_without_supervisor(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)
        os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        self._say_state()
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _say_state(self) -> None:
        self._telling = False
        self._say(Message(STATE, open=self._server.open_connections, taken=self._taken))

    def _say(self, message: Message) -> None:
        with suppress(OSError):  # the supervisor is gone, or does not read
            self._control.send(encode(message))
