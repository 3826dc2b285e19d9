"""Makes foreign text safe to show in a terminal, or in a log that is shown in one."""

import json


def printable(text: str) -> str:
    """`text` as one line without anything that a terminal would obey.

    Characters that control, hide or reorder (escape sequences, line breaks, C1, bidirectional overrides) are
    escaped as in JSON, so that a line of JSON keeps its meaning.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def printable_lines(text: str) -> str:
    """The same for several lines, which stay separate lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escape(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]
