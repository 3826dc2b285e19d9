"""The seal: an operator stops every release and signature on all replicas; wallets are still created."""

from kms_service.access.scopes import Caller
from kms_service.errors import DatabaseRefused, InvalidRequest, MayNotUnseal
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.store.switches.seal import SealChange, SealStore
from kms_service.telemetry.logs import get_logger

REASON_CHARACTERS = 500

log = get_logger()


class SealService:
    """Seals and unseals. Acts on all replicas within two seconds.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer, and AuditUnavailable when a
    change could not be recorded.
    """

    def __init__(self, store: SealStore, shared_state: SharedStatePoll, audit: AuditLog) -> None:
        self._store = store
        self._shared_state = shared_state
        self._audit = audit

    async def state(self) -> SealChange | None:
        """The last change; None when nobody ever sealed the service."""
        return await self._store.last()

    async def seal(self, caller: Caller, reason: str) -> SealChange:
        """Stop every release and signature; repeating it notes another reason.

        Raises:
            InvalidRequest: there is no reason, or it is too long.
        """
        if not 1 <= len(reason.strip()) <= REASON_CHARACTERS:
            raise InvalidRequest(f"has 1 to {REASON_CHARACTERS} characters", "reason")
        change = await self._store.seal(reason=reason, actor=caller.name)
        log.info("sealed", actor=caller.name)
        await self._shared_state.poll()
        # Recorded afterwards: stopping must not wait for the audit log.
        await self._audit.record(caller, Event("seal.close", detail=reason))
        return change

    async def unseal(self, caller: Caller) -> SealChange:
        """Let releases and signatures go on.

        Raises:
            MayNotUnseal: the login of this process has no right to; that is on record.
        """
        try:
            # Both rows or neither: nothing opens without a row.
            at = await self._audit.record_unsealing(caller, Event("seal.open"))
        except DatabaseRefused:
            await self._audit.record(caller, Event("seal.open", outcome=MayNotUnseal.code))
            raise MayNotUnseal from None
        log.info("unsealed", actor=caller.name)
        await self._shared_state.poll()
        return SealChange(sealed=False, reason=None, actor=caller.name, at=at)
