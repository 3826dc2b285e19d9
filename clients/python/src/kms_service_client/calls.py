"""Every call as a value: what to send and how to read the answer. The clients only carry these out."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from kms_service_client.errors import InvalidUserId
from kms_service_client.json_values import plain
from kms_service_client.retrying import Repeatable
from kms_service_client.values import (
    BatchResult,
    Foreseen,
    PrivateKey,
    Signature,
    SignedAuthorization,
    SignedTransaction,
    Wallet,
    WalletPage,
)

BATCH_USERS = 100
PAGE_WALLETS = 500
_USER_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    `read` raises KeyError, TypeError or ValueError when the answer is not what this version knows.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    repeatable: Repeatable
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None


def create_wallet(user_id: str) -> Call[Wallet]:
    """`POST /wallets`."""
    return Call("POST", "/wallets", Wallet.read, Repeatable.IF_NOTHING_HAPPENED, {"userId": user_id})


def ensure_wallet(user_id: str) -> Call[Wallet]:
    """`PUT /wallets/{userId}`."""
    return Call("PUT", _wallet(user_id), Wallet.read, Repeatable.ALWAYS)


def get_wallet(user_id: str) -> Call[Wallet]:
    """`GET /wallets/{userId}`."""
    return Call("GET", _wallet(user_id), Wallet.read, Repeatable.ALWAYS)


def list_wallets(limit: int, cursor: str | None, kms_key_id: str | None) -> Call[WalletPage]:
    """`GET /wallets`."""
    query = {"limit": str(limit), "cursor": cursor, "kmsKeyId": kms_key_id}
    given = {name: value for name, value in query.items() if value is not None}
    return Call("GET", "/wallets", WalletPage.read, Repeatable.ALWAYS, query=given)


def ensure_wallets(user_ids: Sequence[str]) -> Iterator[Call[list[BatchResult]]]:
    """`POST /wallets/batch`, as often as this many users need."""

    def read(answer: Mapping[str, Any]) -> list[BatchResult]:
        return [BatchResult.read(result) for result in answer["results"]]

    for start in range(0, len(user_ids), BATCH_USERS):
        body = {"userIds": list(user_ids[start : start + BATCH_USERS])}
        yield Call("POST", "/wallets/batch", read, Repeatable.ALWAYS, body)


def get_private_key(user_id: str) -> Call[PrivateKey]:
    """`GET /wallets/{userId}/private-key`."""
    return Call("GET", f"{_wallet(user_id)}/private-key", PrivateKey.read, Repeatable.ALWAYS)


def get_verifier_private_key() -> Call[PrivateKey]:
    """`GET /wallets/platform/verifier-private-key`."""
    path = "/wallets/platform/verifier-private-key"
    return Call("GET", path, PrivateKey.read, Repeatable.ALWAYS)


def export_private_key(user_id: str, recipient_public_key: str, read: Callable[[Any], T]) -> Call[T]:
    """`POST /wallets/{userId}/private-key/export`; `read` decrypts the answer."""
    path = f"{_wallet(user_id)}/private-key/export"
    return Call("POST", path, read, Repeatable.ALWAYS, {"recipientPublicKey": recipient_public_key})


def begin_import(read: Callable[[Any], T]) -> Call[T]:
    """`POST /wallet-imports`; `read` makes the offer."""
    return Call("POST", "/wallet-imports", read, Repeatable.ALWAYS)


def finish_import(user_id: str, encrypted: Mapping[str, str]) -> Call[Wallet]:
    """`PUT /wallets/{userId}/import`."""
    path = f"{_wallet(user_id)}/import"
    return Call("PUT", path, Wallet.read, Repeatable.IF_NOTHING_HAPPENED, encrypted)


def sign_message(user_id: str, message: str | bytes) -> Call[Signature]:
    """`POST /wallets/{userId}/sign/message`."""
    body = {"message": message} if isinstance(message, str) else {"messageHex": "0x" + message.hex()}
    return Call("POST", f"{_wallet(user_id)}/sign/message", Signature.read, Repeatable.ALWAYS, body)


def sign_typed_data(user_id: str, typed_data: Mapping[str, Any]) -> Call[Signature]:
    """`POST /wallets/{userId}/sign/typed-data`."""
    path = f"{_wallet(user_id)}/sign/typed-data"
    return Call("POST", path, Signature.read, Repeatable.ALWAYS, plain(typed_data))


def sign_transaction(user_id: str, transaction: Mapping[str, Any]) -> Call[SignedTransaction]:
    """`POST /wallets/{userId}/sign/transaction`."""
    path = f"{_wallet(user_id)}/sign/transaction"
    body = {"transaction": plain(transaction)}
    return Call("POST", path, SignedTransaction.read, Repeatable.ALWAYS, body)


def sign_authorization(user_id: str, authorization: Mapping[str, Any]) -> Call[SignedAuthorization]:
    """`POST /wallets/{userId}/sign/authorization`."""
    path = f"{_wallet(user_id)}/sign/authorization"
    return Call("POST", path, SignedAuthorization.read, Repeatable.ALWAYS, plain(authorization))


def foresee(call: Call[Any]) -> Call[Foreseen]:
    """The same call as a dry run: nothing is signed, and no window of a policy is used."""
    query = {"dryRun": "true"}
    return Call(call.method, call.path, Foreseen.read, Repeatable.ALWAYS, call.body, query)


def _wallet(user_id: str) -> str:
    # A user id with a slash or dots in it would name another route.
    if not _USER_ID.fullmatch(user_id) or user_id in {".", ".."}:
        raise InvalidUserId("a user id has 1 to 128 of A-Z a-z 0-9 . _ : @ - and is not . or ..")
    return f"/wallets/{quote(user_id, safe=':@')}"
