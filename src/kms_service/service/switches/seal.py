"""The seal: an operator stops every release and signature on all replicas. Wallets are still created."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from kms_service.access.scopes import Caller
from kms_service.crypto.material import RowMac
from kms_service.crypto.row_mac import RowLabel
from kms_service.errors import (
    DatabaseRefused,
    IntegrityFailure,
    InvalidRequest,
    KmsError,
    MayNotUnseal,
    NoUsableKey,
    SealChangedElsewhere,
)
from kms_service.service.access.authenticate import Keyring
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.service.switches.seal_in_force import SealInForce, fields, next_number
from kms_service.store.switches.seal import SealChange, SealStore
from kms_service.store.switches.unsealing import unsealing
from kms_service.telemetry.logs import get_logger

REASON_CHARACTERS = 500
# Sealing waits no longer than this for KMS: without a MAC the change seals too.
MAC_SECONDS = 2.0
FORGED = "the last change of the seal is not one that an operator made"
_ATTEMPTS = 5

log = get_logger()


class SealService:
    """Seals and unseals; a change takes effect on all replicas within two seconds.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(
        self,
        store: SealStore,
        in_force: SealInForce,
        keyring: Keyring,
        shared_state: SharedStatePoll,
        audit: AuditLog,
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._keyring = keyring
        self._shared_state = shared_state
        self._audit = audit

    async def state(self) -> SealChange | None:
        """The last change, as this process obeys it; None if nobody ever sealed the service."""
        stored = await self._store.read()
        sealed = self._in_force.is_sealed(stored)
        if stored.newest is None:
            return SealChange(True, FORGED, "unknown", datetime.now(UTC)) if sealed else None
        change = stored.newest.change
        if sealed and not change.sealed:
            return replace(change, sealed=True, reason=FORGED, actor="unknown")
        return change

    async def seal(self, caller: Caller, reason: str) -> SealChange:
        """Stop every release and signature, even without KMS; repeating it stores another reason.

        Raises:
            InvalidRequest: there is no reason, or it is too long.
            SealChangedElsewhere: somebody else kept changing the seal at the same moment.
            AuditUnavailable: the service is sealed, and that is not on record.
        """
        if not 1 <= len(reason.strip()) <= REASON_CHARACTERS:
            raise InvalidRequest(f"has 1 to {REASON_CHARACTERS} characters", "reason")
        # 1. Sealed: neither KMS nor the audit log can hold it up.
        number, change = await self._close(reason, caller.name)
        log.info("sealed", actor=caller.name)
        # 2. In force here at once, elsewhere at the next poll.
        await self._shared_state.poll()
        # 3. Recorded only now: stopping must not wait for the audit log.
        await self._audit.record(caller, Event("seal.close", detail=f"{number}: {reason}"))
        return change

    async def unseal(self, caller: Caller) -> SealChange:
        """Allow releases and signatures again.

        Raises:
            MayNotUnseal: this process's login has no right to; the attempt is on record.
            SealChangedElsewhere: somebody else kept changing the seal at the same moment.
            KmsThrottled, KmsUnavailable, KmsKeyUnusable, NoUsableKey, IntegrityFailure: the keys of row MACs
                cannot be unwrapped.
            AuditUnavailable: the service is still sealed.
        """
        try:
            at = await self._open(caller)
        except DatabaseRefused:
            await self._audit.record(caller, Event("seal.open", outcome=MayNotUnseal.code))
            raise MayNotUnseal from None
        log.info("unsealed", actor=caller.name)
        await self._shared_state.poll()
        return SealChange(sealed=False, reason=None, actor=caller.name, at=at)

    async def _close(self, reason: str, actor: str) -> tuple[int, SealChange]:
        # The last state that was read is good enough: if it is out of date, the number is taken.
        stored = self._in_force.last or await self._store.read()
        for _ in range(_ATTEMPTS):
            number = next_number(stored)
            mac = await self._mac_at_once(number, SealChange(True, reason, actor, datetime.now(UTC)))
            change = await self._store.close(number=number, reason=reason, actor=actor, mac=mac)
            if change is not None:
                return number, change
            stored = await self._store.read()
        raise SealChangedElsewhere("the seal was changed at the same moment; look at it first")

    async def _open(self, caller: Caller) -> datetime:
        ring = await self._keyring()
        for _ in range(_ATTEMPTS):
            number = next_number(await self._store.read())
            mac = ring.make(
                RowLabel.SEAL, fields(number, SealChange(False, None, caller.name, datetime.now(UTC)))
            )
            # Committed together with its audit row: no unsealing without a record.
            event = Event("seal.open", detail=str(number))
            at = await self._audit.record_with(caller, event, unsealing(number, mac))
            if at is not None:
                return at
        raise SealChangedElsewhere("the seal was changed at the same moment; look at it first")

    async def _mac_at_once(self, number: int, change: SealChange) -> RowMac | None:
        try:
            async with asyncio.timeout(MAC_SECONDS):
                ring = await self._keyring()
        except (TimeoutError, KmsError, NoUsableKey, IntegrityFailure):
            log.warning("sealed_without_mac")
            return None
        return ring.make(RowLabel.SEAL, fields(number, change))
