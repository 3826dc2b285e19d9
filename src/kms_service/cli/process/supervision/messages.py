"""What a worker tells its supervisor: one line per message, over the socket between them.

In the other direction go only connections, each with one byte. They keep their order, so the number of those
taken says which ones.
"""

import json
from dataclasses import dataclass

READY = "ready"
"""It serves, and takes connections."""
STATE = "state"
"""Its event loop turns; with how many connections are open, and how many it has taken in all."""
STOPPING = "stopping"
"""It takes no more connections, not even those already passed to it."""
FAILED = "failed"
"""It cannot begin to serve; with the exit code, and the reason."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

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
