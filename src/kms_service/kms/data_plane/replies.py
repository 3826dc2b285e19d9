"""Reads KMS's replies strictly: whatever does not have the expected form is garbled, and is never quoted.

The error code is found as botocore finds it: in `__type`, without a namespace before it or an address after
it. If the body is not KMS's, as a proxy's is not, the HTTP status is the code.
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
    """A reply does not have KMS's form; the error says nothing of what it held."""


@dataclass(frozen=True, slots=True)
class Reply:
    """KMS's reply. Never print `members`: those of a Decrypt hold a plaintext DEK."""

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
        """A member that is text; None if KMS left it out.

        Raises:
            Garbled: it is something else.
        """
        return None if self.members.get(name) is None else self.text(name)

    def blob(self, name: str) -> bytes:
        """A member that is bytes in strict base64. In the reply to a Decrypt it is a secret.

        Raises:
            Garbled: it is missing, or something else.
        """
        text = self.text(name)
        try:
            value = a2b_base64(text)
        except ValueError:
            raise Garbled from None
        # The decoder is lenient; here bytes have exactly one encoding.
        if b2a_base64(value, newline=False).decode() != text:
            raise Garbled
        return value

    def within(self, name: str) -> "Reply":
        """A member that is an object.

        Raises:
            Garbled: it is missing, or something else.
        """
        return Reply(_object(self.members.get(name)), self.request_id)

    def each(self, name: str) -> list["Reply"]:
        """A member that is a list of objects.

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
        """A member that is an integer; None if KMS left it out.

        Raises:
            Garbled: it is something else.
        """
        value = self.members.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise Garbled
        return value

    def time(self, name: str) -> datetime | None:
        """A member that is a time, sent in seconds since 1970, as UTC; None if KMS left it out.

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


def is_error(answer: Answer) -> bool:
    """Whether the answer is an error; a redirect is one, since KMS never redirects."""
    return answer.status >= HTTPStatus.MULTIPLE_CHOICES


def read(answer: Answer) -> Reply:
    """The reply in an answer that is not an error.

    Raises:
        Garbled: it is not a JSON object.
    """
    # An operation without output answers an empty body.
    return Reply(_parse(answer.body) if answer.body else {}, answer.headers.get(REQUEST_ID))


def error_code(answer: Answer) -> str:
    """KMS's error code in an answer that is an error; the HTTP status if there is no code."""
    try:
        code = _parse(answer.body).get("__type")
    except Garbled:
        code = None
    if not isinstance(code, str):
        return str(answer.status)
    return code.split(":", 1)[0].rsplit("#", 1)[-1]


def seconds_to_wait(answer: Answer) -> float | None:
    """How long KMS asks us to wait, in seconds; None if it does not say."""
    value = answer.headers.get(RETRY_AFTER, "")
    return int(value) / 1000 if value.isascii() and value.isdigit() else None


def _parse(body: bytes) -> Mapping[str, object]:
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError):
        # from None: the parser's message quotes the body.
        raise Garbled from None


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Garbled
    return value
