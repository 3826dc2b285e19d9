"""JSON bodies with one meaning: what two parsers could read differently is refused, since it may be signed.

Python's own parser accepts NaN, keeps the last of two members with the same name, and guesses the encoding.
"""

import json
from typing import Any, NoReturn

from fastapi import Request


class StrictJsonRequest(Request):
    """A request whose `json()` accepts only I-JSON: whole characters, unique names (RFC 7493, 2.1, 2.3)."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            json.JSONDecodeError: it is anything else; FastAPI expects this error, and answers `invalid_json`.
        """
        body = await self.body()
        try:
            return _parse(body)
        except (ValueError, RecursionError):
            # Also for bytes that are not UTF-8, more digits than Python converts, or nesting too deep.
            raise json.JSONDecodeError("not JSON with one meaning", "", 0) from None


def _parse(body: bytes) -> Any:
    parsed = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    if b"\\ud" in body.lower():
        # Half of a surrogate pair is not a character, and cannot be encoded in an answer.
        json.dumps(parsed, ensure_ascii=False).encode()
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member's name is repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
