"""JSON bodies with one meaning: what two parsers could read differently is refused, since it may be signed.

Python's parser alone takes NaN, keeps the last of two members of one name, and guesses the encoding.
"""

import json
from typing import Any, NoReturn

from fastapi import Request


class StrictJsonRequest(Request):
    """A request whose `json()` takes I-JSON alone: whole characters, unique names (RFC 7493, 2.1 and 2.3).

    Raises:
        json.JSONDecodeError: anything else; FastAPI's own error, which becomes `invalid_json`.
    """

    async def json(self) -> Any:
        """The parsed body."""
        body = await self.body()
        try:
            return _parse(body)
        except (ValueError, RecursionError):
            # Also not UTF-8, more digits than Python converts, or nested deeper than it can follow.
            raise json.JSONDecodeError("not JSON with one meaning", "", 0) from None


def _parse(body: bytes) -> Any:
    parsed = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    if b"\\ud" in body.lower():
        # Half of a surrogate pair is no character, and nothing that holds it can be answered.
        json.dumps(parsed, ensure_ascii=False).encode()
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member's name is repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
