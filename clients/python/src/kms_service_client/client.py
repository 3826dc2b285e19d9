"""The client for code that waits for its answers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from kms_service_client import calls, wire
from kms_service_client.calls import Call
from kms_service_client.errors import KmsServiceError, Unreachable
from kms_service_client.retrying import Retries
from kms_service_client.values import (
    BatchResult,
    ExportedKey,
    Foreseen,
    PrivateKey,
    Signature,
    SignedAuthorization,
    SignedTransaction,
    Wallet,
    WalletPage,
)

T = TypeVar("T")


class KmsServiceClient:
    """A kms-service, called with one token over kept connections. Threads may share it; close it.

    Every method raises a `KmsServiceError`: a `Problem` with the service's code, or `Unreachable`. Calls are
    repeated by themselves where that is safe (`retries`), after the time that the service names.

    Args:
        base_url: such as `http://kms.internal:3001`.
        token: made by `kms-service token create`. It stays with the caller's other secrets; no error and no
            `repr` shows it.
        timeout: seconds that connecting, and each wait for bytes, may take.
        retries: how often, and for how long in all.
        verify: for TLS with a CA of your own, or with a client's certificate.
        transport: what carries requests instead of the network, such as httpx's transport for a WSGI app.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30.0,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        verify: SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        carrier = transport or httpx.HTTPTransport(verify=verify, limits=wire.connection_limits())
        self._http = httpx.Client(transport=carrier, **wire.connection_settings(base_url, token, timeout))
        self._retries = retries

    def create_wallet(self, user_id: str) -> Wallet:
        """Make a wallet for a user who has none.

        Raises:
            WalletExists: the user has one. After an `Unreachable` that may be the one made by the lost call:
                `ensure_wallet` does not care.
        """
        return self._send(calls.create_wallet(user_id))

    def ensure_wallet(self, user_id: str) -> Wallet:
        """The user's wallet, made now if there was none. Idempotent."""
        return self._send(calls.ensure_wallet(user_id))

    def ensure_wallets(self, user_ids: Sequence[str]) -> list[BatchResult]:
        """Make or find many wallets, a hundred a request; one result a user, and one failure stops nothing.

        Raises:
            Problem: a whole request failed; to call again with the same users is safe.
        """
        return [result for call in calls.ensure_wallets(user_ids) for result in self._send(call)]

    def get_wallet(self, user_id: str) -> Wallet:
        """A user's wallet, without its secrets.

        Raises:
            WalletNotFound: the user has none.
        """
        return self._send(calls.get_wallet(user_id))

    def list_wallets(
        self, *, limit: int = 100, cursor: str | None = None, kms_key_id: str | None = None
    ) -> WalletPage:
        """One page of up to `limit` wallets (at most 500); `kms_key_id` (an ARN) picks a key's."""
        return self._send(calls.list_wallets(limit, cursor, kms_key_id))

    def wallets(self, *, kms_key_id: str | None = None) -> Iterator[Wallet]:
        """All wallets in order of user id, read a page at a time as you go; those refused are left out."""
        cursor = None
        while True:
            page = self.list_wallets(limit=calls.PAGE_WALLETS, cursor=cursor, kms_key_id=kms_key_id)
            yield from page.wallets
            cursor = page.next_cursor
            if cursor is None:
                return

    def get_private_key(self, user_id: str) -> PrivateKey:
        """The bare private key. Prefer a signature, or `export_private_key`.

        Raises:
            WalletNotFound: the user has no wallet.
        """
        return self._send(calls.get_private_key(user_id))

    def get_verifier_private_key(self) -> PrivateKey:
        """The bare private key of the platform's verifier, whose user the service's settings name.

        Raises:
            WalletNotFound: they name nobody.
        """
        return self._send(calls.get_verifier_private_key())

    def export_private_key(self, user_id: str) -> ExportedKey:
        """The private key, encrypted on its way to a key pair made for this call. Needs the extra `export`.

        Raises:
            WalletNotFound: the user has no wallet.
            UnexpectedAnswer: the answer does not open.
        """
        from kms_service_client.export import ExportRecipient  # noqa: PLC0415 - an optional extra

        recipient = ExportRecipient()
        return self._send(calls.export_private_key(user_id, recipient.public_key, recipient.open))

    def import_wallet(self, user_id: str, secret: bytes | str) -> Wallet:
        """Move a private key (32 bytes) or a phrase (12 to 24 English words) in, encrypted. Needs `export`.

        Raises:
            WalletExists: the user has a wallet.
            InvalidRequest: it is neither.
            Problem: `address_exists`: another user has this very key.
        """
        from kms_service_client.wallet_import import ImportOffer  # noqa: PLC0415 - an optional extra

        offer = self._send(calls.begin_import(ImportOffer.read))
        return self._send(calls.finish_import(user_id, offer.seal(secret, user_id)))

    def sign_message(self, user_id: str, message: str | bytes) -> Signature:
        """Sign a text (as UTF-8) or bytes as wallets do (EIP-191, personal_sign)."""
        return self._send(calls.sign_message(user_id, message))

    def sign_typed_data(self, user_id: str, typed_data: Mapping[str, Any]) -> Signature:
        """Sign typed data (EIP-712): `domain`, `types`, `message`, and `primaryType` if in doubt."""
        return self._send(calls.sign_typed_data(user_id, typed_data))

    def sign_transaction(self, user_id: str, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction, given by JSON-RPC's names, with Python's integers and bytes. Sends nothing."""
        return self._send(calls.sign_transaction(user_id, transaction))

    def sign_authorization(self, user_id: str, authorization: Mapping[str, Any]) -> SignedAuthorization:
        """Sign the account's consent to run a contract's code (EIP-7702): `chainId`, `address`, `nonce`.

        Needs the scope `wallets:delegate`: whoever may have this signed can empty the wallet.
        """
        return self._send(calls.sign_authorization(user_id, authorization))

    def foresee_message(self, user_id: str, message: str | bytes) -> Foreseen:
        """Whether the token's policy would have this message signed; nothing is."""
        return self._send(calls.foresee(calls.sign_message(user_id, message)))

    def foresee_typed_data(self, user_id: str, typed_data: Mapping[str, Any]) -> Foreseen:
        """Whether the token's policy would have this typed data signed; nothing is."""
        return self._send(calls.foresee(calls.sign_typed_data(user_id, typed_data)))

    def foresee_transaction(self, user_id: str, transaction: Mapping[str, Any]) -> Foreseen:
        """Whether the token's policy would have this transaction signed; nothing is."""
        return self._send(calls.foresee(calls.sign_transaction(user_id, transaction)))

    def close(self) -> None:
        """Give up the connections; no call can be made from here on."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        attempt, waited = 1, 0.0
        while True:
            try:
                return self._send_once(call)
            except KmsServiceError as error:
                wait = self._retries.wait(error, call.repeatable, attempt, waited)
                if wait is None:
                    raise
            time.sleep(wait)
            attempt, waited = attempt + 1, waited + wait

    def _send_once(self, call: Call[T]) -> T:
        try:
            response = self._http.request(**wire.request_of(call))
        except httpx.TransportError as error:
            raise Unreachable(f"{call.method} {call.path}: {type(error).__name__}") from error
        return wire.read(call, response)
