"""Foreign text for people's eyes: in a terminal, or in a log that is shown in one."""

import json


def printable(text: str) -> str:
    """`text` in one line that a terminal shows and does not obey.

    What controls, hides or reorders (escape sequences, line breaks, C1, bidirectional overrides) is shown
    escaped as in JSON, so that a line of JSON stays the same JSON.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def printable_lines(text: str) -> str:
    """The same of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escape(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]
