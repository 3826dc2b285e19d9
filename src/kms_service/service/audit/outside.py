"""Keeps heads of chains outside the database, so that not even its owner can cut off an end unnoticed."""

import asyncio
import time
from uuid import UUID

from kms_service.service.audit.chains import Head
from kms_service.store.heads.place import HeadsPlace, HeadsUnavailable, KeptHead
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

log = get_logger()


class HeadKeeper:
    """Collects heads and keeps them outside. While the place is unavailable, it only raises an alarm.

    Args:
        place: where they are kept, as AUDIT_HEADS_URL says.
    """

    def __init__(self, place: HeadsPlace) -> None:
        self._place = place
        self._due: dict[UUID, KeptHead] = {}

    def note(self, audit_chain_id: UUID, head: Head) -> None:
        """Have `keep` keep this head, instead of an older one of its chain."""
        self._due[audit_chain_id] = KeptHead(audit_chain_id, head.seq, head.mac)

    async def keep(self) -> None:
        """Keep what is due; what could not be kept stays due, and is logged and counted."""
        due = list(self._due.values())
        if not due:
            return
        try:
            await asyncio.to_thread(self._place.keep, due)
        except HeadsUnavailable as error:
            metrics.audit_heads_failures.inc()
            log.error("audit_heads_not_kept", reason=str(error), chains=len(due))
            return
        metrics.audit_heads_kept.set(time.time())
        for head in due:
            if self._due.get(head.audit_chain_id) is head:
                del self._due[head.audit_chain_id]

    async def read(self) -> dict[UUID, Head]:
        """The newest head of each chain.

        Raises:
            HeadsUnavailable: they cannot be read, so it is unknown whether an end was cut off.
        """
        return {
            head.audit_chain_id: Head(head.seq, head.mac)
            for head in await asyncio.to_thread(self._place.read)
        }
