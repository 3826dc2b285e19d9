"""How much of a request may arrive before its head is complete: bytes, and headers.

The parser reports a header only once all of it is there, so what it holds back is counted too. It is fed in
small pieces for that, and so that no second request is read while the first one's answer is owed.
"""

PIECE_BYTES = 1024
# Read from one connection before the next one's turn.
TURN_BYTES = 8 * 1024
# Of a body that comes after its answer: more than the largest accepted body, framing included.
MAX_UNWANTED_BYTES = 128 * 1024
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
_FRAMING_BYTES = 4  # a colon, a space and the end of the line


class RequestSize:
    """Counts one request after another; a chunked body's trailers count with its head."""

    def __init__(self) -> None:
        self._told = 0
        self._held_back = 0
        self._headers = 0
        self._heard = False

    def begin(self) -> None:
        """Count a new request."""
        self._told = self._headers = 0
        self.note_parsed()

    def target(self, part: bytes) -> None:
        """Count a part of the request's target."""
        self._told += len(part)
        self.note_parsed()

    def header(self, name: bytes, value: bytes) -> None:
        """Count a header or a trailer."""
        self._headers += 1
        self._told += len(name) + len(value) + _FRAMING_BYTES
        self.note_parsed()

    def note_parsed(self) -> None:
        """Note that the parser has reported something, and so holds nothing back."""
        self._held_back = 0
        self._heard = True

    def feed(self, count: int) -> None:
        """Note that the parser was fed `count` bytes; if it reported nothing since, it holds them back."""
        if not self._heard:
            self._held_back += count
        self._heard = False

    @property
    def excessive(self) -> bool:
        """Whether there are too many bytes or headers."""
        return self._told + self._held_back > MAX_HEAD_BYTES or self._headers > MAX_HEADERS
