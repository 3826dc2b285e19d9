"""Signatures, so that keys need not leave: messages, typed data, transactions."""

import asyncio
from dataclasses import dataclass

from kms_service.errors import InvalidRequest
from kms_service.ethereum import Account, signing
from kms_service.ethereum.signing import Signable
from kms_service.ethereum.transactions import Transaction
from kms_service.ethereum.typed_data import TypedData
from kms_service.service.wallets.release import Releases, Use


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A signature of 65 bytes (r, s, v) over a digest of 32, and the address that made it."""

    wallet_address: str
    signature: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to be sent, its hash of 32 bytes, and the address that signed it."""

    wallet_address: str
    raw: bytes
    hash: bytes


class SigningService:
    """Signs for users; what is signed is encoded first, so that a bad request costs no KMS call.

    Every method raises what `Releases.release` raises.
    """

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._warm = False

    async def sign_message(self, user_id: str, message: bytes) -> SignedMessage:
        """The user's signature of a message (EIP-191, version 0x45)."""
        await self.warm_up()
        return await self._sign(user_id, "sign.message", signing.personal_message(message))

    async def sign_typed_data(self, user_id: str, typed: TypedData) -> SignedMessage:
        """The user's signature of typed data (EIP-712)."""
        await self.warm_up()
        return await self._sign(user_id, "sign.typed_data", signing.typed_message(typed))

    async def sign_transaction(
        self, user_id: str, transaction: Transaction, sender: str | None
    ) -> SignedTransaction:
        """The user's transaction, signed (EIP-155, EIP-2930, EIP-1559).

        Args:
            user_id: whose key signs.
            transaction: what is signed.
            sender: the `from` that the caller expects, if any.

        Raises:
            InvalidRequest: the wallet's address is not `sender`.
        """

        def from_the_sender(wallet_address: str) -> None:
            if sender is not None and sender != wallet_address:
                raise InvalidRequest("is not the address of this wallet", "transaction.from")

        def perform(account: Account) -> tuple[SignedTransaction, str]:
            signed = signing.sign_transaction(transaction, account.private_key)
            # The hash by which the chain knows it, so that an auditor can look it up there.
            return SignedTransaction(account.address, signed.raw, signed.hash), "0x" + signed.hash.hex()

        await self.warm_up()
        use = Use("sign.transaction", "signature", perform, from_the_sender)
        return await self._releases.release(user_id, use)

    async def warm_up(self) -> None:
        """Load what the first signature would wait for; in a thread, since it takes half a second."""
        if not self._warm:
            await asyncio.to_thread(signing.warm_up)
            self._warm = True

    async def _sign(self, user_id: str, action: str, signable: Signable) -> SignedMessage:
        def perform(account: Account) -> tuple[SignedMessage, str]:
            signature = signing.sign(signable, account.private_key)
            return SignedMessage(account.address, signature, signable.digest), "0x" + signable.digest.hex()

        return await self._releases.release(user_id, Use(action, "signature", perform))
