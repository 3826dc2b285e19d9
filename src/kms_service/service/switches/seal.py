"""The seal: an operator stops every release and signature on all replicas; wallets are still created."""

from kms_service.errors import InvalidRequest
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.store.switches.seal import SealChange, SealStore
from kms_service.telemetry import context
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

    async def seal(self, reason: str) -> SealChange:
        """Stop every release and signature; repeating it notes another reason.

        Raises:
            InvalidRequest: there is no reason, or it is too long.
        """
        if not 1 <= len(reason.strip()) <= REASON_CHARACTERS:
            raise InvalidRequest(f"has 1 to {REASON_CHARACTERS} characters", "reason")
        change = await self._change(sealed=True, reason=reason)
        # Recorded afterwards: stopping must not wait for the audit log.
        await self._audit.record(Event("seal.close", detail=reason))
        return change

    async def unseal(self) -> SealChange:
        """Let releases and signatures go on."""
        # Recorded before: nothing opens without a row.
        await self._audit.record(Event("seal.open"))
        return await self._change(sealed=False, reason=None)

    async def _change(self, *, sealed: bool, reason: str | None) -> SealChange:
        change = await self._store.append(
            sealed=sealed, reason=reason, actor=context.actor.get() or "unknown"
        )
        log.info("sealed" if sealed else "unsealed")
        await self._shared_state.poll()
        return change
