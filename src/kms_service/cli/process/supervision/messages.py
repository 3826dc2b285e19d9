"""What a worker tells its supervisor: a line each over the socket between them.

The other way go connections alone, each with one byte. Their order is kept, so that a count of those taken
says which.
"""

import json
from dataclasses import dataclass

READY = "ready"
"""It serves, and takes connections."""
STATE = "state"
"""Its event loop goes round: how many connections are open, and how many it has taken in all."""
STOPPING = "stopping"
"""It takes no more connections, those it was passed already included."""
FAILED = "failed"
"""It cannot begin to serve: the code to exit with, and why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line."""

    kind: str
    open: int = 0
    taken: int = 0
    exit_code: int = 0
    reason: str = ""


def encode(message: Message) -> bytes:
    """The line of a message."""
    fields = [message.kind, message.open, message.taken, message.exit_code, message.reason]
    return json.dumps(fields).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line."""
    return Message(*json.loads(line))
