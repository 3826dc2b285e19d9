"""The AWS JSON 1.1 protocol as KMS speaks it: errors, replies and the record of a request."""

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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


_CHANGES_NOTHING: Final = (
    *("Decrypt", "Encrypt", "ReEncrypt", "Generate", "Sign", "Verify"),
    *("Describe", "Get", "List"),
)


class KmsError(Exception):
    """An error answer of KMS, with its code and message."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class ConnectionReset(Exception):
    """The connection is to be cut with a TCP reset, without an answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came over the wire.

    Attributes:
        operation: as KMS names it (`ReEncrypt`).
        params: the members of its body.
        region: the Region it is signed for; empty when it is not signed.
        request_id: what its answer carries as `x-amzn-RequestId`.
        access_key: whose credentials signed it; empty when it is not signed.
    """

    operation: str
    params: Params
    region: str
    request_id: str
    access_key: str

    @property
    def changes_nothing(self) -> bool:
        """Whether it leaves every key and alias as it was."""
        return self.operation.startswith(_CHANGES_NOTHING)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over the wire; with `cut`, half of the body and then a closed connection."""

    status: int
    body: bytes
    outcome: str = "ok"
    cut: bool = False
    content_type: str = "application/x-amz-json-1.1"


@dataclass(slots=True)
class Received:
    """One request on record.

    Attributes:
        call: as it arrived.
        keys: ARNs of all keys that it names, by key id, alias or ciphertext.
        principal: whose credentials callers had then, if the endpoint was told.
        at: when it came, in seconds since 1970.
        outcome: `pending`, then `ok`, an error code or a fault's name.
    """

    call: Call
    keys: tuple[str, ...]
    principal: str | None
    at: float = field(default_factory=time.time)
    outcome: str = "pending"

    @property
    def operation(self) -> str:
        """As KMS names it."""
        return self.call.operation

    @property
    def params(self) -> Params:
        """The members of its body."""
        return self.call.params

    @property
    def signed(self) -> bool:
        """Whether it carried a signature."""
        return bool(self.call.region)

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


def stop_if_dry(params: Params) -> None:
    """End a dry run, at the point where the operation would be done.

    Raises:
        KmsError: DryRunOperationException, when this is one.
    """
    if params.get("DryRun"):
        message = "The request would have succeeded, but the DryRun option is set."
        raise KmsError("DryRunOperationException", message)


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
