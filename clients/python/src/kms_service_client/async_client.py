"""The asynchronous client."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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


class AsyncKmsServiceClient:
    """A kms-service client with one token, over kept connections. Tasks of one loop may share it; close it.

    Every method raises a `KmsServiceError`: a `Problem` with the service's code, or `Unreachable`. A call is
    repeated automatically where that is safe (`retries`), after the time that the service names.

    Args:
        base_url: such as `http://kms.internal:3001`.
        token: made by `kms-service token create`. It stays with the caller's other secrets; no error and no
            `repr` shows it.
        timeout: seconds, for connecting and for each wait for bytes.
        retries: how often a call is repeated, and for how long in all.
        verify: for TLS with your own CA, or with a client certificate.
        transport: what carries requests instead of the network, such as httpx's transport for an ASGI app.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30.0,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        verify: SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        carrier = transport or httpx.AsyncHTTPTransport(verify=verify, limits=wire.connection_limits())
        self._http = httpx.AsyncClient(
            transport=carrier, **wire.connection_settings(base_url, token, timeout)
        )
        self._retries = retries

    async def create_wallet(self, user_id: str) -> Wallet:
        """Create a wallet for a user who has none.

        Raises:
            WalletExists: the user has one. After an `Unreachable` it may be the one that the lost call made;
                `ensure_wallet` avoids the question.
        """
        return await self._send(calls.create_wallet(user_id))

    async def ensure_wallet(self, user_id: str) -> Wallet:
        """Get the user's wallet, or create it if there is none. Idempotent."""
        return await self._send(calls.ensure_wallet(user_id))

    async def ensure_wallets(self, user_ids: Sequence[str]) -> list[BatchResult]:
        """Find or create many wallets, a hundred per request; one result per user, whatever fails.

        Raises:
            Problem: a whole request failed; calling again with the same users is safe.
        """
        return [result for call in calls.ensure_wallets(user_ids) for result in await self._send(call)]

    async def get_wallet(self, user_id: str) -> Wallet:
        """Get a user's wallet, without its secrets.

        Raises:
            WalletNotFound: the user has none.
        """
        return await self._send(calls.get_wallet(user_id))

    async def list_wallets(
        self, *, limit: int = 100, cursor: str | None = None, kms_key_id: str | None = None
    ) -> WalletPage:
        """Get a page of up to `limit` wallets (maximum 500), with `kms_key_id` (an ARN) of one key only."""
        return await self._send(calls.list_wallets(limit, cursor, kms_key_id))

    async def wallets(self, *, kms_key_id: str | None = None) -> AsyncIterator[Wallet]:
        """All wallets in order of user id, read a page at a time as you go; refused ones are left out."""
        cursor = None
        while True:
            page = await self.list_wallets(limit=calls.PAGE_WALLETS, cursor=cursor, kms_key_id=kms_key_id)
            for wallet in page.wallets:
                yield wallet
            cursor = page.next_cursor
            if cursor is None:
                return

    async def get_private_key(self, user_id: str) -> PrivateKey:
        """Get the bare private key. Prefer a signature, or `export_private_key`.

        Raises:
            WalletNotFound: the user has no wallet.
        """
        return await self._send(calls.get_private_key(user_id))

    async def get_verifier_private_key(self) -> PrivateKey:
        """Get the bare private key of the platform's verifier, the user that the service's settings name.

        Raises:
            WalletNotFound: they name none, or that user has no wallet.
        """
        return await self._send(calls.get_verifier_private_key())

    async def export_private_key(self, user_id: str) -> ExportedKey:
        """Get the private key, encrypted in transit to a key pair of this call. Needs the extra `export`.

        Raises:
            WalletNotFound: the user has no wallet.
            UnexpectedAnswer: the answer cannot be decrypted.
        """
        from kms_service_client.export import ExportRecipient  # noqa: PLC0415 - an optional extra

        recipient = ExportRecipient()
        return await self._send(calls.export_private_key(user_id, recipient.public_key, recipient.open))

    async def import_wallet(self, user_id: str, secret: bytes | str) -> Wallet:
        """Import a private key (32 bytes) or phrase (12 to 24 English words), encrypted. Needs `export`.

        Raises:
            WalletExists: the user has a wallet.
            InvalidRequest: it is neither.
            Problem: `address_exists`: another user has this very key.
        """
        from kms_service_client.wallet_import import ImportOffer  # noqa: PLC0415 - an optional extra

        offer = await self._send(calls.begin_import(ImportOffer.read))
        return await self._send(calls.finish_import(user_id, offer.seal(secret, user_id)))

    async def sign_message(self, user_id: str, message: str | bytes) -> Signature:
        """Sign a message (EIP-191, personal_sign): a text, as UTF-8, or bytes."""
        return await self._send(calls.sign_message(user_id, message))

    async def sign_typed_data(self, user_id: str, typed_data: Mapping[str, Any]) -> Signature:
        """Sign typed data (EIP-712): `domain`, `types`, `message`, and `primaryType` if it is ambiguous."""
        return await self._send(calls.sign_typed_data(user_id, typed_data))

    async def sign_transaction(self, user_id: str, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction, with JSON-RPC's names and Python's integers and bytes. Sends nothing."""
        return await self._send(calls.sign_transaction(user_id, transaction))

    async def sign_authorization(self, user_id: str, authorization: Mapping[str, Any]) -> SignedAuthorization:
        """Sign the account's consent to run a contract's code (EIP-7702): `chainId`, `address`, `nonce`.

        Needs the scope `wallets:delegate`: whoever can get this signed can empty the wallet.
        """
        return await self._send(calls.sign_authorization(user_id, authorization))

    async def foresee_message(self, user_id: str, message: str | bytes) -> Foreseen:
        """Whether the token's policy allows signing this message; nothing is signed."""
        return await self._send(calls.foresee(calls.sign_message(user_id, message)))

    async def foresee_typed_data(self, user_id: str, typed_data: Mapping[str, Any]) -> Foreseen:
        """Whether the token's policy allows signing this typed data; nothing is signed."""
        return await self._send(calls.foresee(calls.sign_typed_data(user_id, typed_data)))

    async def foresee_transaction(self, user_id: str, transaction: Mapping[str, Any]) -> Foreseen:
        """Whether the token's policy allows signing this transaction; nothing is signed."""
        return await self._send(calls.foresee(calls.sign_transaction(user_id, transaction)))

    async def aclose(self) -> None:
        """Close the connections; no further call can be made."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _send(self, call: Call[T]) -> T:
        attempt, waited = 1, 0.0
        while True:
            try:
                return await self._send_once(call)
            except KmsServiceError as error:
                wait = self._retries.wait(error, call.repeatable, attempt, waited)
                if wait is None:
                    raise
            await asyncio.sleep(wait)
            attempt, waited = attempt + 1, waited + wait

    async def _send_once(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(**wire.request_of(call))
        except httpx.TransportError as error:
            raise Unreachable(f"{call.method} {call.path}: {type(error).__name__}") from error
        return wire.read(call, response)
