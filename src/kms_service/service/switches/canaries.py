"""Marks canary wallets: nobody should ever open one, so whoever does is an intruder."""

from collections.abc import Sequence

from kms_service.access.scopes import Caller
from kms_service.errors import InvalidRequest, WalletNotFound
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.store.switches.canaries import Canary, CanaryStore
from kms_service.store.wallets.find import WalletStore

# Every replica keeps all of them in memory, and reads them every second.
MOST = 1000


class CanaryService:
    """Marks and unmarks canaries; a change takes effect on all replicas within two seconds.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(
        self, store: CanaryStore, wallets: WalletStore, shared_state: SharedStatePoll, audit: AuditLog
    ) -> None:
        self._store = store
        self._wallets = wallets
        self._shared_state = shared_state
        self._audit = audit

    async def add(self, caller: Caller, user_id: str) -> None:
        """Mark this user's wallet.

        Raises:
            WalletNotFound: the user has none, and a canary that cannot be opened warns of nothing.
            InvalidRequest: there are as many canaries as replicas can remember.
            AuditUnavailable: the wallet is marked, and that is not on record.
        """
        if await self._wallets.find(user_id) is None:
            raise WalletNotFound
        if await self._store.count() >= MOST:
            raise InvalidRequest(f"there are {MOST} canaries already", "userId")
        await self._store.add(user_id, caller.name)
        await self._shared_state.poll()
        await self._audit.record(caller, Event("canary.add", user_id=user_id))

    async def remove(self, caller: Caller, user_id: str) -> None:
        """Remove the mark from this user's wallet.

        Raises:
            WalletNotFound: the user has no canary.
            AuditUnavailable: nothing was removed.
        """
        # Recorded first: no alarm is switched off without an audit row.
        await self._audit.record(caller, Event("canary.remove", user_id=user_id))
        if not await self._store.remove(user_id):
            raise WalletNotFound
        await self._shared_state.poll()

    async def list_all(self) -> Sequence[Canary]:
        """All canaries by user id."""
        return await self._store.list_all()
