"""KMS's replies, read without trust: whatever is not of the expected form is garbled, and is not quoted.

The error code is found as botocore finds it: in `__type`, which may have a namespace before or an address
behind it; where the body is not KMS's, as a proxy's is not, the status is the code.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from kms_service.kms.data_plane.connection import Answer

REQUEST_ID = "x-amzn-requestid"
RETRY_AFTER = "x-amz-retry-after"


class Garbled(Exception):
    """A reply is not of KMS's form; says nothing of what it held."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What KMS answered. Of `members`, a Decrypt's `Plaintext` is a DEK, so they are never shown."""

    members: Mapping[str, object] = field(repr=False)
    request_id: str | None

    def text(self, name: str) -> str:
        """A member that is text.

        Raises:
            Garbled: it is missing, or something else.
        """
        value = self.members.get(name)
        if not isinstance(value, str):
            raise Garbled
        return value

    def text_or_none(self, name: str) -> str | None:
        """A member that is text, or None where KMS left it out.

        Raises:
            Garbled: it is something else.
        """
        return None if self.members.get(name) is None else self.text(name)

    def blob(self, name: str) -> bytes:
        """A member that is bytes, strictly in base64. Of a Decrypt's reply it is a secret.

        Raises:
            Garbled: it is missing, or something else.
        """
        text = self.text(name)
        try:
            value = a2b_base64(text)
        except ValueError:
            raise Garbled from None
        # The decoder forgives much; one text stands for some bytes, and no other.
        if b2a_base64(value, newline=False).decode() != text:
            raise Garbled
        return value

    def within(self, name: str) -> "Reply":
        """A member that has members itself.

        Raises:
            Garbled: it is missing, or something else.
        """
        return Reply(_object(self.members.get(name)), self.request_id)

    def each(self, name: str) -> list["Reply"]:
        """A member that lists things with members.

        Raises:
            Garbled: it is missing, or something else.
        """
        values = self.members.get(name)
        if not isinstance(values, list):
            raise Garbled
        return [Reply(_object(value), self.request_id) for value in values]

    def flag(self, name: str) -> bool:
        """A member that is true or false.

        Raises:
            Garbled: it is missing, or something else.
        """
        value = self.members.get(name)
        if not isinstance(value, bool):
            raise Garbled
        return value

    def number(self, name: str) -> int | None:
        """A member that is a whole number, or None where KMS left it out.

        Raises:
            Garbled: it is something else.
        """
        value = self.members.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise Garbled
        return value

    def time(self, name: str) -> datetime | None:
        """A member that is a UTC time, in seconds since 1970 on the wire, or None where KMS left it out.

        Raises:
            Garbled: it is something else.
        """
        value = self.members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Garbled
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError):
            raise Garbled from None


def failed(answer: Answer) -> bool:
    """Whether the answer is an error; KMS redirects nobody, so a redirection is one."""
    return answer.status >= HTTPStatus.MULTIPLE_CHOICES


def read(answer: Answer) -> Reply:
    """The reply in an answer that is no error.

    Raises:
        Garbled: it is no JSON object.
    """
    # An operation without output answers an empty body.
    return Reply(_parsed(answer.body) if answer.body else {}, answer.headers.get(REQUEST_ID))


def error_code(answer: Answer) -> str:
    """KMS's error code in an answer that is an error; the status where it holds none."""
    try:
        code = _parsed(answer.body).get("__type")
    except Garbled:
        code = None
    if not isinstance(code, str):
        return str(answer.status)
    return code.split(":", 1)[0].rsplit("#", 1)[-1]


def seconds_to_wait(answer: Answer) -> float | None:
    """How long KMS asks to wait; None when it does not say."""
    value = answer.headers.get(RETRY_AFTER, "")
    return int(value) / 1000 if value.isascii() and value.isdigit() else None


def _parsed(body: bytes) -> Mapping[str, object]:
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError):
        # A parser's own words quote the body.
        raise Garbled from None


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Garbled
    return value
