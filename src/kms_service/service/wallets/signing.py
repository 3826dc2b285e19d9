"""Signs for users, so that keys need not leave: messages, typed data, transactions, delegations."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from kms_service.access.scopes import Caller
from kms_service.ethereum import signing
from kms_service.service.policies.guard import Foreseen
from kms_service.service.wallets.release import Releases, Use

T = TypeVar("T")


class SigningService:
    """Signs for users. What is signed is encoded first, so that a bad request costs no KMS call.

    What to sign is given as a function that makes one of `signatures`: encoding needs what `warm_up` loads.
    """

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._warm = False

    async def sign(self, caller: Caller, user_id: str, encode: Callable[[], Use[T]]) -> T:
        """Sign what `encode` makes with the user's key.

        Raises:
            What `encode` and `Releases.release` raise.
        """
        await self.warm_up()
        return await self._releases.release(caller, user_id, encode())

    async def foresee(self, caller: Caller, user_id: str, encode: Callable[[], Use[Any]]) -> Foreseen:
        """Whether `sign` would be allowed now: nothing is signed, used up or put on record.

        Raises:
            What `encode` and `Releases.foresee` raise.
        """
        await self.warm_up()
        return await self._releases.foresee(caller, user_id, encode())

    async def warm_up(self) -> None:
        """Load what the first signature would wait for; in a thread, since it takes half a second."""
        if not self._warm:
            await asyncio.to_thread(signing.warm_up)
            self._warm = True
