"""The AWS JSON 1.1 protocol as KMS speaks it: errors, replies and the record of a request."""

import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Params = Mapping[str, Any]
Result = dict[str, Any]

# Every other KMS error is a 400: https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
_STATUS = {
    "DependencyTimeoutException": 503,
    "DryRunOperationException": 412,
    "InternalFailure": 500,
    "KMSInternalException": 500,
    "KeyUnavailableException": 500,
    "ServiceUnavailable": 503,
}


class KmsError(Exception):
    """An error answer of KMS, with its code and message."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire; with `cut`, half of the body and then a closed connection."""

    status: int
    body: bytes
    outcome: str = "ok"
    cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Received:
    """One request as it arrived; `outcome` is `pending`, then `ok`, an error code or a fault's name."""

    operation: str
    params: Params
    keys: tuple[str, ...]
    """ARNs of all keys that the request names, by key id, alias or ciphertext."""
    signed: bool
    outcome: str = "pending"

    @property
    def key_id(self) -> str | None:
        """The `KeyId` as it was sent: id, ARN or alias."""
        return self.params.get("KeyId")

    @property
    def context(self) -> dict[str, str]:
        """The encryption context; the source's for ReEncrypt."""
        context = self.params.get("EncryptionContext") or self.params.get("SourceEncryptionContext")
        return dict(context or {})


def success(result: Result) -> Reply:
    """A 200 answer holding `result`; operations without output answer an empty body, as KMS does."""
    return Reply(200, json.dumps(result).encode() if result else b"")


def failure(code: str, message: str = "", status: int | None = None) -> Reply:
    """An error answer that botocore turns into `ClientError` with this code."""
    body = json.dumps({"__type": code, "message": message} if message else {"__type": code})
    return Reply(status or _STATUS.get(code, 400), body.encode(), outcome=code)


def request_id() -> str:
    """A fresh value for `x-amzn-RequestId`."""
    return str(uuid.uuid4())


def encode_blob(value: bytes) -> str:
    """Bytes as the protocol carries them."""
    return base64.b64encode(value).decode()


def decode_blob(params: Params, name: str) -> bytes:
    """The bytes of a blob parameter.

    Raises:
        KmsError: ValidationException, when it is absent or not base64.
    """
    try:
        return base64.b64decode(params[name], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise KmsError("ValidationException", f"Value at '{name}' failed to satisfy constraint") from None
